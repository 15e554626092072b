"""The keyed hash by which one controller knows an address, and by which nobody else can recognise it."""

import hmac
from collections.abc import Callable
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC


# There are few such keys, and beginning with one takes longer than the hash of an address. A copy of what this library
# has begun costs about half of a copy by the standard one, and a campaign hashes millions.
@lru_cache(maxsize=1024)
def _begun(key: bytes, start: bytes) -> HMAC:
    begun = HMAC(key, SHA256())
    begun.update(start)
    return begun


def address_hasher(key: bytes, kind: str) -> Callable[[str], bytes]:
    """Return what hashes many addresses of one type as `address_hash` does."""
    copy = _begun(key, f"{kind}|".encode()).copy

    def hash_(value: str) -> bytes:
        begun = copy()
        begun.update(value.encode("utf-8", "surrogatepass"))
        return begun.finalize()

    return hash_


def address_hash(key: bytes, kind: str, value: str) -> bytes:
    """Return the keyed hash of an address: HMAC-SHA-256(key, type|normalised value)."""
    return address_hasher(key, kind)(value)


def keyed_hash(key: bytes, content: bytes) -> bytes:
    """Return HMAC-SHA-256 under one of the few keys that are used all the time; it stays in memory."""
    begun = _begun(key, b"").copy()
    begun.update(content)
    return begun.finalize()


def key_check(key: bytes) -> str:
    """Return what lets a reader see that it holds the right hash key, without telling the key."""
    return hmac.digest(key, b"check", "sha256").hex()
