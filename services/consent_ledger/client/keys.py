"""The hash keys that a mail tool holds: those of its own controllers, as `consent keys export` gives them out."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from consent_ledger.domain.errors import ConsentError
from consent_ledger.domain.keyedhash import address_hash, address_hasher, key_check


class BadKeyError(ConsentError):
    """What was given is no exported hash key."""


class HashKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key under which one controller's addresses are hashed on the topic. It is a secret."""

    controller: str
    kid: str
    key: bytes

    def __repr__(self) -> str:
        return f"HashKey(controller={self.controller!r}, kid={self.kid!r})"

    @property
    def check(self) -> str:
        """What the topic says of the right key."""
        return key_check(self.key)

    def hash(self, type: str, value: str) -> bytes:
        """Hash a normalised address."""
        return address_hash(self.key, type, value)

    def hasher(self, type: str) -> Callable[[str], bytes]:
        """Return what hashes many normalised addresses of one type."""
        return address_hasher(self.key, type)


def load_keys(source: Path | str | Mapping[str, Any]) -> list[HashKey]:
    """Read exported keys: the document of one controller, or `{"keys": [...]}`, from a file or as it is.

    Raises `BadKeyError`; the message never shows a key.
    """
    try:
        document = source if isinstance(source, Mapping) else json.loads(Path(source).read_bytes())
        return [_key(one) for one in document.get("keys", [document])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadKeyError(f"not an export of hash keys ({type(error).__name__})") from None


def _key(one: Mapping[str, Any]) -> HashKey:
    if one["alg"] != "HMAC-SHA-256":
        raise ValueError
    return HashKey(controller=one["controller"], kid=one["kid"], key=base64.b64decode(one["key"], validate=True))
