"""The key of an event's record on Kafka: one person's events stay in order, and nobody can be recognised by it."""

import hashlib

from consent_ledger.domain.events import Event


def key_of(event: Event) -> bytes:
    """Name one of 4,096 buckets by the event's first identifier, or by its id where it has none."""
    if not event.identifiers:
        return _bucket(event.id.hex)
    identifier = event.identifiers[0][1]
    return key_of_address(identifier.type, identifier.value)


def key_of_address(type: str, value: str) -> bytes:
    """Name the bucket of events about one address."""
    return _bucket(f"{type}|{value}")


def _bucket(stable: str) -> bytes:
    return hashlib.sha256(stable.encode("utf-8", "surrogatepass")).hexdigest()[:3].encode()
