"""Entries as columns, for files that other programs read (Apache Parquet)."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from consent_ledger.store.log import Entry

_INSTANT: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [
        ("shard", pa.int32()),
        ("position", pa.int64()),
        ("event_id", pa.string()),
        ("type", pa.string()),
        ("occurred_at", _INSTANT),
        ("recorded_at", _INSTANT),
        ("kafka_offset", pa.int64()),
        ("register_version", pa.int64()),
        ("body", pa.string()),
        ("commitment", pa.binary()),
        ("tags", pa.binary()),
        ("leaf_hash", pa.binary()),
    ]
)
"""`body`: JSON, a format number and the fields that are not personal. `tags`: joined, 32 bytes each."""

OPTIONS: Final = {"compression": "zstd", "use_dictionary": ["type"], "write_statistics": True, "store_schema": False}
"""How files are written, so that the same entries give the same bytes."""


def columns(entries: Sequence[Entry]) -> list[pa.Array]:
    """Give the columns of entries, in the order of `SCHEMA`."""
    if not entries:
        return [pa.array([], field.type) for field in SCHEMA]
    found = [list(column) for column in zip(*entries, strict=True)]
    found[2] = [str(id_) for id_ in found[2]]
    return [pa.array(column, field.type) for column, field in zip(found, SCHEMA, strict=True)]
