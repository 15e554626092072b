"""Makes of rows of the view the keys and values of the suppressions topic, and of what is told those of changes."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from consent_ledger.domain import suppression
from consent_ledger.domain.durations import rfc3339
from consent_ledger.domain.events import read_body
from consent_ledger.domain.facts import aims
from consent_ledger.domain.keyedhash import key_check
from consent_ledger.domain.published import change_key
from consent_ledger.domain.register import Register
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import keys, view
from consent_ledger.store.keys import ControllerKey
from consent_ledger.store.relay import Entry, Row, Told

_REGISTERS_CACHED: Final = 16

_encode: Final = msgspec.json.Encoder().encode


class UnknownControllerError(Exception):
    """A row of the view belongs to a controller that has no key, which no recorder can have written."""


class Records:
    """Remembers the registers and keys it has met, so that most rows need nothing from the database."""

    def __init__(self, keks: KeyEncryptionKeys) -> None:
        self._keks = keks
        self._registers: OrderedDict[int, Register] = OrderedDict()
        self._keys: dict[str, ControllerKey] = {}

    async def make(self, connection: Connection, rows: Sequence[Row]) -> list[tuple[bytes, bytes]]:
        """Return key and value of the record of each row. Raises `UnknownControllerError`."""
        registers = await self._learn(connection, (row for row in rows if row.type != suppression.CALL_REGISTER))
        return [
            _call_register(row)
            if row.type == suppression.CALL_REGISTER
            else (_key(row), self._value(row, registers[row.register_version]))
            for row in rows
        ]

    async def tell(self, connection: Connection, found: Sequence[Told]) -> list[tuple[bytes, bytes]]:
        """Return key and value of what is told of persons. Raises `UnknownControllerError`."""
        registers = await self._learn(connection, (row for one in found for row in one.rows))
        return [
            (
                change_key(one.controller, one.dossier),
                _encode(_change(one, [self._address(row, registers[row.register_version]) for row in one.rows])),
            )
            for one in found
        ]

    def _address(self, row: Row, register: Register) -> dict[str, Any]:
        return {
            "type": row.type, "hash": row.hash.hex(), "kid": self._keys[row.controller].kid, "version": row.seq,
            "register": row.register_version,
            "decisions": suppression.expand_written(register, row.controller, row.type, row.decisions),
        }  # fmt: skip

    async def _learn(self, connection: Connection, rows: Iterable[Row]) -> dict[int, Register]:
        """Return the registers under which rows were made, and have the keys of their controllers at hand."""
        registers: dict[int, Register] = {}
        for controller, version in {(row.controller, row.register_version) for row in rows}:
            if controller not in self._keys:
                self._keys = await keys.controller_keys(connection, self._keks)
                if controller not in self._keys:
                    raise UnknownControllerError(controller)
            if version not in registers:
                registers[version] = await self._register(connection, version)
        return registers

    async def _register(self, connection: Connection, version: int) -> Register:
        if version in self._registers:
            self._registers.move_to_end(version)
            return self._registers[version]
        register = self._registers[version] = await view.compiled(connection, version)
        if len(self._registers) > _REGISTERS_CACHED:
            self._registers.popitem(last=False)
        return register

    def _value(self, row: Row, register: Register) -> bytes:
        kid, key = self._keys[row.controller]
        if row.type == suppression.PURPOSES:
            return suppression.purposes_record(
                register,
                controller=row.controller,
                kid=kid,
                check=key_check(key),
                version=row.seq,
                needs=row.needs or {},
            )
        return suppression.record(
            register, controller=row.controller, type=row.type, hash_=row.hash, kid=kid, place=(row.shard, row.pos),
            version=row.seq, recorded_at=row.recorded_at, own=row.decisions,
        )  # fmt: skip


def _change(one: Told, addresses: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "controller": one.controller, "dossier": one.dossier, "merged_from": one.merged_from, "seq": one.id,
        "entry": None if one.entry is None else _entry(one.entry), "addresses": addresses,
    }  # fmt: skip


def _entry(entry: Entry) -> dict[str, Any]:
    source, purposes, channels = _said(entry.type, entry.body)
    return {
        "id": entry.event_id, "shard": entry.shard, "position": entry.pos, "type": entry.type, "source": source,
        "occurred_at": rfc3339(entry.occurred_at), "recorded_at": rfc3339(entry.recorded_at),
        "purposes": purposes, "channels": channels,
    }  # fmt: skip


# What is not personal in events that come by one form is the same to the byte.
@lru_cache(maxsize=4096)
def _said(type: str, written: bytes) -> tuple[str, tuple[str, ...] | None, tuple[str, ...] | None]:
    body = read_body(written)
    return (body["source"], *aims(type, body))


def _call_register(row: Row) -> tuple[bytes, bytes]:
    """Key and value of what is told of a do-not-call register, which stands where others have a controller."""
    name = row.controller
    return suppression.call_register_key(name), suppression.call_register_record(name, row.decisions, row.seq)


def _key(row: Row) -> bytes:
    if row.type == suppression.PURPOSES:
        return suppression.purposes_key(row.controller)
    return suppression.suppression_key(row.controller, row.type, row.hash)
