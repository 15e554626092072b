"""The keyed hash by which one controller knows an address, and by which nobody else can recognise it."""

import hmac
from functools import lru_cache


# There are few such keys, and beginning with one takes longer than the hash of an address.
@lru_cache(maxsize=1024)
def _begun(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def address_hash(key: bytes, kind: str, value: str) -> bytes:
    """Return the keyed hash of an address: HMAC-SHA-256(key, type|normalised value)."""
    return keyed_hash(key, f"{kind}|{value}".encode("utf-8", "surrogatepass"))


def keyed_hash(key: bytes, content: bytes) -> bytes:
    """Return HMAC-SHA-256 under one of the few keys that are used all the time; it stays in memory."""
    begun = _begun(key).copy()
    begun.update(content)
    return begun.digest()


def key_check(key: bytes) -> str:
    """Return what lets a reader see that it holds the right hash key, without telling the key."""
    return hmac.digest(key, b"check", "sha256").hex()
