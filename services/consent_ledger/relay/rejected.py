"""Publishes what was not accepted: every record of the quarantine goes, as it came, to the rejected topic."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from prometheus_client import Counter

from consent_ledger.relay.producer import Message, drop, put
from consent_ledger.runtime.keys import KeyEncryptionKeys, decrypt
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys, relay
from consent_ledger.store.relay import Quarantined

log = logging.getLogger(__name__)

PUBLISHED = Counter("consent_rejected_published_total", "Records sent to the rejected topic")

REJECTED: Final = "rejected"

_REST_SECONDS: Final = 0.1
_RETRY_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 30.0
_REQUEST_TIMEOUT_MS: Final = 4_000
# The topic takes 2 MiB; what Kafka adds to a record is far less than the rest.
_RECORD_BYTES: Final = 2 * 1024 * 1024 - 1024

_Headers = list[tuple[str, bytes | None]]


class Rejected:
    """Publishes at least once; a take-over or a crash may publish the last few again."""

    def __init__(self, settings: Settings, keks: KeyEncryptionKeys) -> None:
        self._settings = settings
        self._keks = keks
        self._topic = f"{settings.topic_prefix}{REJECTED}"

    async def run(self, is_owner: Callable[[], bool]) -> None:
        """Publish until cancelled, whenever `is_owner` says that it is this process's turn."""
        while True:
            connection: Connection | None = None
            producer = AIOKafkaProducer(
                **self._settings.kafka(), enable_idempotence=True, request_timeout_ms=_REQUEST_TIMEOUT_MS
            )
            try:
                connection = await relay.connect(self._settings.dsn)
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await producer.start()
                while True:
                    if not (is_owner() and await self.publish(connection, producer)):
                        await asyncio.sleep(_REST_SECONDS)
            except Exception as error:
                log.warning(
                    "the quarantine cannot be published",
                    extra={"error": type(error).__name__},
                    exc_info=not isinstance(error, (KafkaError, OSError, TimeoutError)),
                )
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                if connection is not None:
                    connection.terminate()
                await drop(producer)

    async def publish(self, connection: Connection, producer: AIOKafkaProducer) -> int:
        """Publish the next few records of the quarantine and return how many there were."""
        found = await relay.unpublished(connection)
        if not found:
            return 0
        key = (await keys.service_keys(connection, self._keks))["quarantine"]
        partitions = len(await producer.partitions_for(self._topic))
        messages: dict[int, list[Message]] = defaultdict(list)
        for item in found:
            messages[item.partition % partitions].append(_message(item, key))
        async with asyncio.timeout(_ANSWER_SECONDS):
            await put(producer, self._topic, messages)
        await relay.published(connection, {item.shard: item.offset + 1 for item in found})
        PUBLISHED.inc(len(found))
        return len(found)


def _message(item: Quarantined, quarantine_key: bytes) -> Message:
    """Return key, value and headers as they came, and behind them our own headers."""
    key, value, headers, _ = msgspec.msgpack.decode(decrypt(quarantine_key, item.record, b"quarantine"))
    ours = _place(item)
    kept = _as_text(headers)
    if DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, kept + ours) > _RECORD_BYTES:
        # It came compressed and is larger than the topic takes; the quarantine has it whole.
        return (None, None, [*ours, ("consent-omitted", b"key, value, headers")])
    return (key, value, kept + ours)


def _place(item: Quarantined) -> _Headers:
    said = {
        "reason": item.reason,
        "detail": item.detail,
        "topic": item.topic,
        "partition": str(item.partition),
        "offset": str(item.offset),
    }
    if item.pos is not None:
        said["entry"] = f"{item.shard}/{item.pos}"
    return [(f"consent-{name}", text.encode("utf-8", "backslashreplace")) for name, text in said.items()]


def _as_text(headers: list[tuple[str | bytes, bytes | None]]) -> _Headers:
    """Give headers whose key is not UTF-8 a name that says so, with the raw key in a header of its own."""
    kept: _Headers = []
    for number, (key, value) in enumerate(headers):
        if isinstance(key, str):
            kept.append((key, value))
        else:
            kept.append((f"consent-raw-header-{number}-key", key))
            kept.append((f"consent-raw-header-{number}", value))
    return kept
