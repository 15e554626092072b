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
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

log = logging.getLogger(__name__)

KEY_BYTES = 32
_NONCE_BYTES = 12


class KeyUnavailableError(Exception):
    """A key that is needed is not at hand: the key file is missing, or it is another installation's."""


class KeyEncryptionKeys(Protocol):
    """Holds the keys under which all others are wrapped: a local file, or a key management service."""

    async def current(self) -> str:
        """Return the name of the key under which new keys are wrapped."""

    async def key(self, name: str) -> bytes:
        """Return the 32 bytes of one key. Raises `KeyUnavailableError`."""


class KeyFile:
    """Key-encryption keys in a local JSON file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise KeyUnavailableError(f"no key file at {path}; `consent keys init` makes a new one") from None
        self._current: str = document["current"]
        self._keys = {name: base64.b64decode(key) for name, key in document["keys"].items()}

    @classmethod
    def create(cls, path: Path) -> "KeyFile":
        """Make a new key file. Raises `FileExistsError` rather than write over one."""
        name = f"kek-{secrets.token_hex(4)}"
        document = {"current": name, "keys": {name: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}}
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        log.warning(
            "new key file: keep a copy apart from the database, for losing it loses everything",
            extra={"path": str(path)},
        )
        return cls(path)

    async def current(self) -> str:
        """Return the name of the newest key."""
        return self._current

    async def key(self, name: str) -> bytes:
        """Return one of the keys of the file. Raises `KeyUnavailableError`."""
        if name not in self._keys:
            raise KeyUnavailableError(f"the key file lacks {name}")
        return self._keys[name]


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
