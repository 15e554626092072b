"""Keys: the key-encryption keys of an installation, and what is done with the keys they wrap.

Every key in the database is random and wrapped (AES Key Wrap, RFC 3394) by a key-encryption key that never enters the
database. By default these lie in a local file; `KeyEncryptionKeys` is the seam for a key management service.
**Losing them loses everything**: no address can be found again, no entry read, and no suppression matched.
"""

import base64
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

log = logging.getLogger(__name__)

KEY_BYTES = 32
_NONCE_BYTES = 12
_LEAVING_SECONDS = 60.0


class KeyUnavailableError(Exception):
    """A key that is needed is not at hand: the key file is missing, or it is another installation's."""


class KeyEncryptionKeys(Protocol):
    """Holds the keys under which all others are wrapped: a local file, or a key management service."""

    async def current(self) -> str:
        """Return the name of the key under which new keys are wrapped."""

    async def key(self, name: str) -> bytes:
        """Return the 32 bytes of one key. Raises `KeyUnavailableError`."""


class KeyFile:
    """Key-encryption keys in a local JSON file that only its owner may read.

    A file that has been replaced is read again, so a process goes on through a rotation without being started anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # What was read with a key that has left the file since is still understood for a moment.
        self._left: dict[str, tuple[bytes, float]] = {}
        self._keys: dict[str, bytes] = {}
        self._current = ""
        self._seen: tuple[int, ...] = ()
        try:
            self._read()
        except FileNotFoundError:
            raise KeyUnavailableError(f"no key file at {path}; `consent keys init` makes a new one") from None

    @classmethod
    def create(cls, path: Path) -> "KeyFile":
        """Make a new key file. Raises `FileExistsError` rather than write over one."""
        name = _new_name()
        document = {"current": name, "keys": {name: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}}
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, document)
        log.warning(
            "new key file: keep a copy apart from the database, for losing it loses everything",
            extra={"path": str(path)},
        )
        return cls(path)

    async def current(self) -> str:
        """Return the name of the newest key."""
        self._refresh()
        return self._current

    async def key(self, name: str) -> bytes:
        """Return one of the keys of the file. Raises `KeyUnavailableError`."""
        if name not in self._keys:
            self._refresh()
        if name in self._keys:
            return self._keys[name]
        key, until = self._left.get(name, (b"", 0.0))
        if time.monotonic() > until:
            raise KeyUnavailableError(f"the key file lacks {name}")
        return key

    @property
    def names(self) -> list[str]:
        """The names of all keys in the file, the newest last."""
        self._refresh()
        return [*(name for name in self._keys if name != self._current), self._current]

    def add(self) -> str:
        """Add a new key, under which all others are wrapped from now on, and return its name."""
        self._refresh()
        name = _new_name()
        self._replace(name, {**self._keys, name: secrets.token_bytes(KEY_BYTES)})
        return name

    def remove(self, name: str) -> None:
        """Take a key out of the file; what is still wrapped under it is lost. Raises `ValueError` for the newest."""
        self._refresh()
        if name == self._current:
            raise ValueError("the newest key is in use")
        self._replace(self._current, {one: key for one, key in self._keys.items() if one != name})

    def _replace(self, current: str, keys: dict[str, bytes]) -> None:
        """Put another file in the place of this one, whole or not at all."""
        document = {"current": current, "keys": {name: base64.b64encode(key).decode() for name, key in keys.items()}}
        beside = self._path.with_name(f"{self._path.name}.new")
        beside.unlink(missing_ok=True)
        _write(beside, document)
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._refresh()

    def _refresh(self) -> None:
        """Read the file again if it is another one. One that cannot be read changes nothing."""
        now = time.monotonic()
        self._left = {name: (key, until) for name, (key, until) in self._left.items() if until > now}
        try:
            if _identity(self._path) != self._seen:
                self._read()
        except (OSError, ValueError, LookupError, TypeError):
            log.warning("the key file cannot be read again; the keys at hand stay", extra={"path": str(self._path)})

    def _read(self) -> None:
        seen = _identity(self._path)
        document = json.loads(self._path.read_text(encoding="utf-8"))
        keys = {name: base64.b64decode(key) for name, key in document["keys"].items()}
        current = document["current"]
        until = time.monotonic() + _LEAVING_SECONDS
        self._left |= {name: (key, until) for name, key in self._keys.items() if name not in keys}
        self._current, self._keys, self._seen = current, keys, seen


def _new_name() -> str:
    return f"kek-{secrets.token_hex(4)}"


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _write(path: Path, document: Mapping[str, object]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())


def wrap(kek: bytes, key: bytes) -> bytes:
    """Wrap one key under a key-encryption key (RFC 3394)."""
    return aes_key_wrap(kek, key)


def unwrap(kek: bytes, wrapped: bytes) -> bytes:
    """Undo `wrap`. Raises `KeyUnavailableError` when it was wrapped under another key."""
    try:
        return aes_key_unwrap(kek, wrapped)
    except InvalidUnwrap:
        raise KeyUnavailableError("a key in the database was wrapped under another key-encryption key") from None


def encrypt(key: bytes, plaintext: bytes, context: bytes) -> bytes:
    """Encrypt with AES-256-GCM under a random nonce, which comes first in the result; `context` is authenticated."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, context)


def decrypt(key: bytes, ciphertext: bytes, context: bytes) -> bytes:
    """Undo `encrypt`. Raises `cryptography.exceptions.InvalidTag` when anything was altered."""
    return AESGCM(key).decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], context)


def kid_of(key: bytes) -> str:
    """Name a key by a digest of it."""
    return hashlib.sha256(b"kid" + key).hexdigest()[:16]
