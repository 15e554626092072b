"""The keyed hash by which one controller knows an address, and by which nobody else can recognise it."""

import hmac


def address_hash(key: bytes, kind: str, value: str) -> bytes:
    """Return the keyed hash of an address: HMAC-SHA-256(key, type|normalised value)."""
    return hmac.digest(key, f"{kind}|{value}".encode("utf-8", "surrogatepass"), "sha256")


def key_check(key: bytes) -> str:
    """Return what lets a reader see that it holds the right hash key, without telling the key."""
    return hmac.digest(key, b"check", "sha256").hex()
