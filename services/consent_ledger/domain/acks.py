"""What a consumer of the suppressions topic reports on the acks topic: how far it has applied one partition."""

import re
from datetime import datetime
from typing import Annotated, Final

import msgspec

from consent_ledger.domain.errors import ConsentError

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""A consumer's name is that of a tool and not of a person: it stands in keys, metrics and logs."""
INSTANCE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""An instance is one copy of the topic. Its name outlives a restart, so that an ended one is seen to be behind."""

_Consumer = Annotated[str, msgspec.Meta(pattern=rf"\A{NAME.pattern}\Z")]
_Instance = Annotated[str, msgspec.Meta(pattern=rf"\A{INSTANCE.pattern}\Z")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class UnreadableAckError(ConsentError):
    """What stands on the acks topic is no acknowledgement."""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on `partition` before `offset` is applied.

    `instant` and `seq` are of the last watermark applied; `applied_at` is by the consumer's own clock.
    """

    consumer: _Consumer
    instance: _Instance
    partition: Annotated[int, msgspec.Meta(ge=0, lt=512)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    instant: _Instant
    applied_at: _Instant


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Ack).decode


def ack_key(consumer: str, instance: str, partition: int) -> bytes:
    """The key under which compaction keeps the last acknowledgement."""
    return f"{consumer}/{instance}/{partition}".encode()


def write_ack(ack: Ack) -> tuple[bytes, bytes]:
    """Return key and value of an acknowledgement."""
    return ack_key(ack.consumer, ack.instance, ack.partition), _encode(ack)


def read_ack(key: bytes | None, value: bytes) -> Ack:
    """Read an acknowledgement. Raises `UnreadableAckError`, also when it stands under the key of another."""
    try:
        ack = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableAckError(type(error).__name__) from None
    if key != ack_key(ack.consumer, ack.instance, ack.partition):
        raise UnreadableAckError("the key is another's")
    return ack


def read_key(key: bytes | None) -> tuple[str, str, int]:
    """Take a key apart: consumer, instance, partition. Raises `UnreadableAckError`."""
    try:
        consumer, instance, partition = (key or b"").decode().split("/")
        return consumer, instance, int(partition)
    except ValueError:
        raise UnreadableAckError("the key is none of an acknowledgement") from None
