"""The copy of the suppressions topic on disk: one LMDB environment that many processes read and one writes.

Every value carries a checksum over its key and itself, because a bit that tips over must give a no, never a yes.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4
from zlib import crc32

import lmdb
import msgspec

from consent_ledger.client.records import Defaults, Row, Snapshot, Template, read_defaults, read_snapshot, read_template
from consent_ledger.domain.errors import ConsentError

FORMAT: Final = 1
CHANGES_KEPT: Final = 1_000_000
"""How many changes back a running campaign can be checked again without asking for everybody."""

_GIB: Final = 2**30
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_HEAD: Final = b"head"
_PREFIX: Final = struct.Struct(">I")
_ROW: Final = struct.Struct(">QQII")
_STORED: Final = struct.Struct(">IQQII")
_NUMBER: Final = struct.Struct(">Q")
_INSTANT: Final = struct.Struct(">q")
_TEMPLATE: Final = struct.Struct(">I")
_DBS: Final = (b"rows", b"templates", b"template_ids", b"defaults", b"dnc", b"changes", b"meta")


class DamagedCopyError(ConsentError):
    """The copy on disk is not what was written; it is made anew from the topic."""


class Place(msgspec.Struct, kw_only=True):
    """How far one partition has been read; `target`: where it ended when reading from its beginning began.

    `instant` (microseconds since 1970), `seq`, `epoch` are of its last watermark, 0 before the first. `last_offset` and
    `last_timestamp` (milliseconds) are of the last record read, by which the topic is known again; -1 before the first.
    """

    next_offset: int = 0
    target: int = 0
    instant: int = 0
    seq: int = 0
    epoch: int = 0
    last_offset: int = -1
    last_timestamp: int = -1


class Head(msgspec.Struct, kw_only=True):
    """What a copy is a copy of, and how complete it is. `stamp` rises when anything but a row has changed."""

    format: int = FORMAT
    id: str = ""
    topic: str = ""
    places: list[Place] = []
    generation: int = 0
    complete: bool = False
    stamp: int = 0
    rows: int = 0
    templates: int = 0
    changes: int = 0
    oldest_change: int = 1

    @property
    def instant(self) -> int:
        """The instant of which the copy knows everything, in microseconds since 1970; 0 if there is none."""
        return min((place.instant for place in self.places), default=0)


class StoredRow(msgspec.Struct, gc=False):
    """One address as the copy keeps it; instants lie in `raw`, where `instant` finds them."""

    version: int
    register: int
    generation: int
    template: int
    raw: bytes

    def instant(self, place: int) -> int:
        """Return one of the instants, in microseconds since 1970."""
        instant: int = _INSTANT.unpack_from(self.raw, _PREFIX.size + _ROW.size + _INSTANT.size * place)[0]
        return instant


class Copy:
    """An open copy. Reading is safe over threads; only one `Writing` at a time may be open over all processes."""

    def __init__(self, path: Path, *, map_gib: int = 64) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._pid = os.getpid()
        # Kept to the end of the process: pages of a file that was replaced may still be read from.
        self.environment = lmdb.open(
            str(path), map_size=map_gib * _GIB, max_dbs=len(_DBS), max_readers=1024, metasync=False, lock=True
        )
        self._dbs = {name: self.environment.open_db(name) for name in _DBS}
        self._templates: dict[tuple[str, int], Template] = {}

    @property
    def is_foreign(self) -> bool:
        """Whether this process inherited the copy by a fork, and must open its own."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """Close the copy: in a child what it has inherited, without touching its parent's."""
        self.environment.close()

    def reading(self) -> "Reading":
        """Begin to read one snapshot; use it as a context manager."""
        return Reading(self.environment.begin(), self._dbs, self._templates)

    def writing(self) -> "Writing":
        """Begin to write; nothing is there for others before the end, and nothing at all after an exception."""
        return Writing(self.environment.begin(write=True), self._dbs, self._templates)


class Reading:
    """One snapshot of the copy."""

    def __init__(self, transaction: Any, dbs: dict[bytes, Any], templates: dict[tuple[str, int], Template]) -> None:
        self._transaction = transaction
        self._dbs = dbs
        self._get = transaction.get
        self._rows = dbs[b"rows"]
        self._templates = templates

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._transaction.abort()

    def raw_head(self) -> bytes:
        """Return the head as it is stored; empty when there is none."""
        found: bytes = self._transaction.get(_HEAD, db=self._dbs[b"meta"]) or b""
        return found

    def head(self) -> Head:
        """Return the head; of an empty copy, an empty one. Raises `DamagedCopyError`."""
        raw = self.raw_head()
        if not raw:
            return Head()
        try:
            head = _decode_head(_open(_HEAD, raw))
        except msgspec.MsgspecError as error:
            raise DamagedCopyError("the head is not readable") from error
        if head.format != FORMAT or self._count(b"rows") != head.rows:
            raise DamagedCopyError("rows are missing, or the copy is of another format")
        return head

    def row(self, hash_: bytes) -> StoredRow | None:
        """Return the row of an address, None where there is none. Raises `DamagedCopyError`."""
        raw = self._get(hash_, None, self._rows)
        if raw is None:
            return None
        try:
            checksum, version, register, generation, template = _STORED.unpack_from(raw)
        except struct.error:
            raise DamagedCopyError("a row is too short") from None
        if checksum != crc32(raw[_PREFIX.size :], crc32(hash_)):
            raise DamagedCopyError("a row does not fit its checksum")
        return StoredRow(version, register, generation, template, raw)

    def template(self, number: int, copy_id: str) -> Template:
        """Return a template of the copy that this snapshot shows. Raises `DamagedCopyError`."""
        found = self._templates.get((copy_id, number))
        if found is None:
            key = _TEMPLATE.pack(number)
            raw = self._transaction.get(key, db=self._dbs[b"templates"])
            if raw is None:
                raise DamagedCopyError("a template is missing")
            found = self._templates[copy_id, number] = read_template(_open(key, raw))
        return found

    def defaults(self) -> dict[str, Defaults]:
        """Return what holds for addresses with nothing on record, by controller. Raises `DamagedCopyError`."""
        return {key.decode(): read_defaults(value) for key, value in self._all(b"defaults")}

    def snapshots(self) -> dict[str, Snapshot]:
        """Return how fresh the do-not-call registers are, by the partition furthest behind. Raises `DamagedCopyError`.

        A register's record stands behind the answers of its own partition that it changed.
        """
        found: dict[str, list[Snapshot]] = {}
        for key, value in self._all(b"dnc"):
            found.setdefault(key.decode().partition("/")[2], []).append(read_snapshot(value))
        return {name: min(some, key=lambda one: one.valid_until or _NEVER) for name, some in found.items()}

    def changes(self, after: int) -> Iterator[bytes]:
        """Return the hashes of addresses whose record has changed after a place."""
        with self._transaction.cursor(db=self._dbs[b"changes"]) as cursor:
            if cursor.set_range(_NUMBER.pack(after + 1)):
                yield from (bytes(value) for _, value in cursor)

    def _all(self, name: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor(db=self._dbs[name]) as cursor:
            for key, raw in cursor:
                yield key, _open(key, raw)

    def _count(self, name: bytes) -> int:
        count: int = self._transaction.stat(db=self._dbs[name])["entries"]
        return count


class Writing(Reading):
    """A change of the copy, all or nothing. What is put goes by the highest version, within one generation."""

    def __init__(self, transaction: Any, dbs: dict[bytes, Any], templates: dict[tuple[str, int], Template]) -> None:
        super().__init__(transaction, dbs, templates)
        self.now = self.head()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._transaction.abort()
            return
        self._transaction.put(_HEAD, _seal(_HEAD, _encode_head(self.now)), db=self._dbs[b"meta"])
        self._transaction.commit()

    def begin_anew(self, topic: str, targets: Sequence[int]) -> None:
        """Read the topic from its beginning: until the targets are reached and the rest is swept, nothing counts."""
        old = self.now
        self.now = Head(
            id=old.id or uuid4().hex, topic=topic, places=[Place(target=target) for target in targets],
            generation=old.generation + 1, stamp=old.stamp + 1, rows=old.rows, templates=old.templates,
            changes=old.changes, oldest_change=old.oldest_change,
        )  # fmt: skip
        for name in (b"defaults", b"dnc"):
            self._transaction.drop(self._dbs[name], delete=False)

    def clear(self) -> None:
        """Forget everything: a damaged copy is not worth sweeping."""
        for name in _DBS:
            self._transaction.drop(self._dbs[name], delete=False)
        self.now = Head(stamp=self.now.stamp + 1)

    def put_row(self, row: Row) -> bool:
        """Keep a record unless a later one is there; tell whether it is new."""
        stored = self.row(row.hash)
        if stored is not None and stored.generation == self.now.generation and stored.version >= row.version:
            return False
        content = _ROW.pack(row.version, row.register, self.now.generation, self._number(row.template))
        content += struct.pack(f">{len(row.instants)}q", *row.instants)
        self._transaction.put(row.hash, _seal(row.hash, content), db=self._dbs[b"rows"])
        self.now.rows += stored is None
        self._note(row.hash)
        return True

    def put_defaults(self, defaults: Defaults, value: bytes) -> None:
        """Keep what holds for addresses with nothing on record, unless a later word is there."""
        key = defaults.controller.encode()
        raw = self._transaction.get(key, db=self._dbs[b"defaults"])
        if raw is None or read_defaults(_open(key, raw)).version < defaults.version:
            self._transaction.put(key, _seal(key, value), db=self._dbs[b"defaults"])
            self.now.stamp += 1

    def put_snapshot(self, q: int, name: str, snapshot: Snapshot, value: bytes) -> None:
        """Keep how fresh a do-not-call register is on one partition, unless a later word is there."""
        key = f"{q}/{name}".encode()
        raw = self._transaction.get(key, db=self._dbs[b"dnc"])
        if raw is None or read_snapshot(_open(key, raw)).version < snapshot.version:
            self._transaction.put(key, _seal(key, value), db=self._dbs[b"dnc"])
            self.now.stamp += 1

    def sweep(self, limit: int, start: bytes = b"") -> bytes | None:
        """Drop rows of older generations among the next `limit`; return where to go on, None at the end."""
        gone = []
        with self._transaction.cursor(db=self._dbs[b"rows"]) as cursor:
            there = cursor.set_range(start) if start else cursor.first()
            for _ in range(limit):
                if not there:
                    break
                key, raw = cursor.item()
                if _ROW.unpack_from(_open(key, raw))[2] != self.now.generation:
                    gone.append(key)
                there = cursor.next()
            onward = bytes(cursor.key()) if there else None
        for key in gone:
            self._transaction.delete(key, db=self._dbs[b"rows"])
            self._note(key)
        self.now.rows -= len(gone)
        return onward

    def _number(self, template: bytes) -> int:
        """Return the number of a template, giving it one if it is new."""
        digest = sha256(template).digest()
        found = self._transaction.get(digest, db=self._dbs[b"template_ids"])
        if found is not None:
            number: int = _TEMPLATE.unpack(_open(digest, found))[0]
            return number
        # Whatever cannot be read must fail here and not at the first question.
        read_template(template)
        self.now.templates += 1
        key = _TEMPLATE.pack(self.now.templates)
        self._transaction.put(key, _seal(key, template), db=self._dbs[b"templates"])
        self._transaction.put(digest, _seal(digest, key), db=self._dbs[b"template_ids"])
        return self.now.templates

    def _note(self, hash_: bytes) -> None:
        self.now.changes += 1
        self._transaction.put(_NUMBER.pack(self.now.changes), hash_, db=self._dbs[b"changes"], append=True)
        while self.now.changes - self.now.oldest_change >= CHANGES_KEPT:
            self._transaction.delete(_NUMBER.pack(self.now.oldest_change), db=self._dbs[b"changes"])
            self.now.oldest_change += 1


def _seal(key: bytes, content: bytes) -> bytes:
    return _PREFIX.pack(crc32(content, crc32(key))) + content


def _open(key: bytes, raw: bytes) -> bytes:
    content = raw[_PREFIX.size :]
    if len(raw) < _PREFIX.size or _PREFIX.unpack_from(raw)[0] != crc32(content, crc32(key)):
        raise DamagedCopyError("a value does not fit its checksum")
    return content


_encode_head: Final = msgspec.msgpack.Encoder().encode
_decode_head: Final = msgspec.msgpack.Decoder(Head).decode
