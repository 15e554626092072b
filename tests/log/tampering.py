"""What an administrator might do to a ledger: each edit is made as the superuser, and says what must be found."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

import asyncpg

from consent_ledger.domain import checkpoint
from consent_ledger.domain.merkle import Edge
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import erasure, log
from consent_ledger.store.log import Checkpoint, Entry
from consent_ledger.verifier.tree import hash_leaf


class Found(NamedTuple):
    """What the verifier must say. None: nothing is demanded of this part."""

    what: str | tuple[str, ...]
    shard: int | None = None
    position: int | None = None


Edit = Callable[[Connection, Random], Awaitable[Found]]


async def _sealed(connection: Connection, random: Random) -> Entry:
    """Any entry of the log."""
    last = await log.last(connection)
    assert last is not None
    at = random.randrange(last.size)
    (entry,) = await log.entries_of(connection, at, at + 1)
    return entry


async def _set(connection: Connection, entry: Entry, column: str, value: str) -> None:
    await connection.execute(
        f"UPDATE ledger SET {column} = {value} WHERE shard = $1 AND pos = $2",  # noqa: S608
        entry.shard,
        entry.position,
    )


async def _rehash(connection: Connection, shard: int, first: int) -> None:
    """Make the stored hashes of a shard anew, from a position on."""
    for entry in await log.entries(connection, shard, first, 1 << 40):
        await _set(connection, entry, "leaf_hash", f"decode('{_leaf(entry).hex()}', 'hex')")


def _leaf(entry: Entry) -> bytes:
    return hash_leaf(entry.content())


def byte(column: str) -> Edit:
    async def edit(connection: Connection, random: Random) -> Found:
        entry = await _sealed(connection, random)
        length = await connection.fetchval(
            f"SELECT octet_length({column}) FROM ledger WHERE shard = $1 AND pos = $2",  # noqa: S608
            entry.shard,
            entry.position,
        )
        at, bit = random.randrange(length), 1 << random.randrange(8)
        await _set(connection, entry, column, f"set_byte({column}, {at}, get_byte({column}, {at}) # {bit})")
        return Found("altered", entry.shard, entry.position)

    return edit


def value(column: str, new: str, *, hashed: bool = False) -> Edit:
    async def edit(connection: Connection, random: Random) -> Found:
        entry = await _sealed(connection, random)
        await _set(connection, entry, column, new)
        if hashed:
            await _rehash(connection, entry.shard, entry.position)
        return Found("altered", entry.shard, entry.position)

    return edit


async def remove(connection: Connection, random: Random) -> Found:
    entry = await _sealed(connection, random)
    await connection.execute("DELETE FROM ledger WHERE shard = $1 AND pos = $2", entry.shard, entry.position)
    return Found("removed", entry.shard, entry.position)


def close_gap(*, hashed: bool) -> Edit:
    async def edit(connection: Connection, random: Random) -> Found:
        found = await remove(connection, random)
        await _move(connection, found.shard, found.position, -1)
        await connection.execute("UPDATE shard_head SET next_pos = next_pos - 1 WHERE shard = $1", found.shard)
        if hashed:
            await _rehash(connection, int(found.shard or 0), int(found.position or 0))
        return found

    return edit


async def _move(connection: Connection, shard: int | None, position: int | None, by: int) -> None:
    await connection.execute("UPDATE ledger SET pos = -pos - 1000000 WHERE shard = $1 AND pos >= $2", shard, position)
    await connection.execute("UPDATE ledger SET pos = -pos - 1000000 + $2 WHERE shard = $1 AND pos < 0", shard, by)


def insert(*, hashed: bool) -> Edit:
    async def edit(connection: Connection, random: Random) -> Found:
        entry = await _sealed(connection, random)
        await _move(connection, entry.shard, entry.position, 1)
        await _copy(connection, entry, entry.position)
        await connection.execute("UPDATE shard_head SET next_pos = next_pos + 1 WHERE shard = $1", entry.shard)
        if hashed:
            await _rehash(connection, entry.shard, entry.position)
        return Found("added", entry.shard, entry.position)

    return edit


async def _copy(connection: Connection, entry: Entry, position: int) -> None:
    await connection.execute(
        "INSERT INTO ledger SELECT shard, $3, gen_random_uuid(), type, occurred_at, recorded_at, k_offset,"
        " register_version, body, payload_commit, tags, leaf_hash FROM ledger"
        " WHERE shard = $1 AND pos IN ($2::bigint, $2::bigint + 1) ORDER BY pos DESC LIMIT 1",
        entry.shard,
        entry.position,
        position,
    )


async def append(connection: Connection, random: Random) -> Found:
    entry = await _sealed(connection, random)
    end = await connection.fetchval("SELECT next_pos FROM shard_head WHERE shard = $1", entry.shard)
    await _copy(connection, entry, end + random.randrange(3))
    position = await connection.fetchval("SELECT max(pos) FROM ledger WHERE shard = $1", entry.shard)
    return Found("added", entry.shard, position)


async def before_all(connection: Connection, random: Random) -> Found:
    entry = await _sealed(connection, random)
    await _copy(connection, entry, -1)
    return Found("added", entry.shard, -1)


def swap(*, hashed: bool) -> Edit:
    async def edit(connection: Connection, random: Random) -> Found:
        one = await _sealed(connection, random)
        while (other := await _sealed(connection, random)).shard != one.shard or other.position == one.position:
            pass
        one, other = sorted((one, other), key=lambda entry: entry.position)
        for position, target in ((one.position, -1), (other.position, one.position), (-1, other.position)):
            await connection.execute(
                "UPDATE ledger SET pos = $3 WHERE shard = $1 AND pos = $2", one.shard, position, target
            )
        if hashed:
            await _rehash(connection, one.shard, one.position)
        # Neighbours exchanged may as well be one removed and another put in.
        return Found(("reordered", "added", "removed"), one.shard, one.position)

    return edit


async def cut_shard(connection: Connection, random: Random) -> Found:
    entry = await _sealed(connection, random)
    await connection.execute("DELETE FROM ledger WHERE shard = $1 AND pos >= $2", entry.shard, entry.position)
    await connection.execute("UPDATE shard_head SET next_pos = $2 WHERE shard = $1", entry.shard, entry.position)
    return Found("removed", entry.shard, entry.position)


async def cut_all(connection: Connection, random: Random) -> Found:
    """Set the whole database back to an earlier checkpoint, so that it agrees with itself."""
    rows = await connection.fetch("SELECT tree_size, heads FROM checkpoint ORDER BY tree_size")
    kept = random.choice(rows[:-1])
    for shard, end in enumerate(kept["heads"]):
        await connection.execute("DELETE FROM ledger WHERE shard = $1 AND pos >= $2", shard, end)
        await connection.execute("UPDATE shard_head SET next_pos = $2 WHERE shard = $1", shard, end)
    await connection.execute("DELETE FROM checkpoint WHERE tree_size > $1", kept["tree_size"])
    await connection.execute("DELETE FROM tile WHERE (idx + 1) * 256 > $1", kept["tree_size"])
    return Found("truncated")


def _flipped(column: str) -> str:
    return f"{column} = set_byte({column}, 9, get_byte({column}, 9) # 4)"


def tile(change: str) -> Edit:
    async def edit(connection: Connection, random: Random) -> Found:
        row = random.choice(await connection.fetch("SELECT level, idx FROM tile"))
        await connection.execute(change, row["level"], row["idx"])
        return Found("tile")

    return edit


def of_checkpoint(change: str) -> Edit:
    async def edit(connection: Connection, random: Random) -> Found:
        row = random.choice(await connection.fetch("SELECT tree_size FROM checkpoint"))
        await connection.execute(f"UPDATE checkpoint SET {change} WHERE tree_size = $1", row["tree_size"])  # noqa: S608
        return Found("checkpoint")

    return edit


async def forget_checkpoint(connection: Connection, random: Random) -> Found:
    rows = await connection.fetch("SELECT tree_size FROM checkpoint ORDER BY tree_size")
    await connection.execute("DELETE FROM checkpoint WHERE tree_size = $1", random.choice(rows[:-1])["tree_size"])
    return Found("checkpoint")


async def destroy(connection: Connection, random: Random) -> Found:
    """Delete what is personal of an entry, whose hashes are all as they were."""
    entry = await _sealed(connection, random)
    await connection.execute("DELETE FROM payload WHERE shard = $1 AND pos = $2", entry.shard, entry.position)
    return Found("destroyed", entry.shard, entry.position)


def destroy_with(excuse: str) -> Edit:
    """Delete what is personal of an entry, and write down that it was an erasure ($1, $2: the entry)."""

    async def edit(connection: Connection, random: Random) -> Found:
        found = await destroy(connection, random)
        what = await order(connection)
        await connection.execute(
            "INSERT INTO erasure SELECT 1, shard, pos, controller, now(), true, 1, 1, 0, 0, '{}'"  # noqa: S608
            f" FROM (VALUES {excuse}) AS e (shard, pos, controller)",
            what["shard"],
            what["pos"],
        )
        await connection.execute("INSERT INTO destroyed VALUES ($1, $2, 'shop-be', 1, null)", *found[1:])
        return found

    return edit


TAKEN = ((1, 3), (2, 7))
SALT = b"salt" * 8


async def order(connection: Connection) -> asyncpg.Record:
    """The first erasure of the ledger."""
    row = await connection.fetchrow(
        "SELECT shard, pos, event_id FROM ledger WHERE type = 'erasure-executed' ORDER BY shard, pos LIMIT 1"
    )
    assert row is not None
    return row


def evidence(order: asyncpg.Record) -> bytes:
    """The body of the entry that says what the erasure takes. The digest is made after its description."""
    places = b"".join(shard.to_bytes(4) + position.to_bytes(8) for shard, position in TAKEN)
    digest = f"sha256:{hashlib.sha256(SALT + places).hexdigest()}"
    said = {"controllers": ["shop-be"], "erasure": str(order["event_id"]), "payloads": len(TAKEN), "digest": digest}
    return json.dumps([1, said], separators=(",", ":")).encode()


async def carry_out(connection: Connection) -> asyncpg.Record:
    """Carry the first erasure out, in the role that does it, as its evidence says."""
    what = await order(connection)
    event = await connection.fetchval("SELECT event_id FROM ledger WHERE type = 'erasure-carried-out'")
    await connection.execute("SET LOCAL ROLE consent_eraser")
    figures, given = erasure.Figures(0, 0, 0, 0), erasure.Evidence(event, SALT)
    await erasure.begin(
        connection, (what["shard"], what["pos"]), "shop-be", datetime.now(UTC), figures, given, whole=True
    )
    assert await erasure.delete_payloads(connection, "shop-be", TAKEN) == len(TAKEN)
    await connection.execute("RESET ROLE")
    return what


def pass_off(edit: str = "") -> Edit:
    """Destroy an entry's personal part and addresses, and write down that a real erasure took them, which did not."""

    async def pass_off(connection: Connection, random: Random) -> Found:
        await connection.execute("SET LOCAL session_replication_role = origin")
        what = await carry_out(connection)
        await connection.execute("SET LOCAL session_replication_role = replica")
        found = await destroy(connection, random)
        while (found.shard, found.position) in TAKEN:
            found = await destroy(connection, random)
        await connection.execute("DELETE FROM entry_subject WHERE shard = $1 AND pos = $2", *found[1:])
        await connection.execute("INSERT INTO destroyed VALUES ($1, $2, 'shop-be', 1, null)", *found[1:])
        if edit:
            await connection.execute(edit)
        return Found("destroyed", what["shard"], what["pos"])

    return pass_off


async def destroy_as_retention(connection: Connection, random: Random) -> Found:
    found = await destroy(connection, random)
    await connection.execute("INSERT INTO retention_run VALUES (gen_random_uuid(), now(), now())")
    await connection.execute("INSERT INTO destroyed SELECT $1, $2, 'shop-be', null, id FROM retention_run", *found[1:])
    return found


def make_anew(*, note: str) -> Edit:
    """Alter one entry and make everything that follows from it anew, but for the signature."""

    async def edit(connection: Connection, random: Random) -> Found:
        entry = await _sealed(connection, random)
        await _set(connection, entry, "occurred_at", "occurred_at - interval '1 day'")
        await _rehash(connection, entry.shard, entry.position)
        last = await log.last(connection)
        assert last is not None
        leaves = [_leaf(one) for one in await log.entries_of(connection, 0, last.size)]
        await connection.execute("DELETE FROM tile")
        edge = Edge()
        for row in await connection.fetch("SELECT * FROM checkpoint ORDER BY tree_size"):
            one = Checkpoint(row["tree_size"], row["heads"], row["root"], row["note"], row["sealed_at"])
            added = b"".join(leaves[edge.size : one.size])
            tiles = edge.append(added)
            text = checkpoint.text(checkpoint.read(one.note)._replace(root=edge.root()))
            signature = one.note.partition(b"\n\n")[2]
            made: Any = {"kept": one.note, "rewritten": text + b"\n" + signature}[note]
            await connection.execute("DELETE FROM checkpoint WHERE tree_size = $1", one.size)
            await log.add(connection, tiles, added, one.size, one.heads, edge.root(), made)
        return Found(("checkpoint", "altered"))

    return edit


EDITS: dict[str, Edit] = {
    **{f"a bit of {column}": byte(column) for column in ("body", "payload_commit", "tags", "leaf_hash")},
    "another type": value("type", "'consent-withdrawn'"),
    "another event": value("event_id", "gen_random_uuid()"),
    "earlier": value("occurred_at", "occurred_at - interval '1 microsecond'"),
    "recorded later": value("recorded_at", "recorded_at + interval '1 second'"),
    "another offset": value("k_offset", "k_offset + 1"),
    "another register": value("register_version", "register_version + 1"),
    "tags taken off": value("tags", "''"),
    "earlier, hashed anew": value("occurred_at", "occurred_at - interval '1 day'", hashed=True),
    "another body, hashed anew": value("body", "body || ' '", hashed=True),
    "removed": remove,
    "removed, gap closed": close_gap(hashed=False),
    "removed, gap closed, hashed anew": close_gap(hashed=True),
    "put between": insert(hashed=False),
    "put between, hashed anew": insert(hashed=True),
    "put behind": append,
    "put before": before_all,
    "swapped": swap(hashed=False),
    "swapped, hashed anew": swap(hashed=True),
    "end of a shard cut off": cut_shard,
    "set back": cut_all,
    "another tile": tile("UPDATE tile SET hashes = sha256(hashes) || substr(hashes, 33) WHERE (level, idx) = ($1, $2)"),
    "another root of a tile": tile("UPDATE tile SET root = sha256(root) WHERE (level, idx) = ($1, $2)"),
    "a tile removed": tile("DELETE FROM tile WHERE (level, idx) = ($1, $2)"),
    "another root": of_checkpoint("root = sha256(root)"),
    "a bit of a signature": of_checkpoint("note = overlay(note PLACING 'AAAA'::bytea FROM octet_length(note) - 20)"),
    "other heads": of_checkpoint("heads[2] = heads[2] + 1, heads[3] = heads[3] - 1"),
    "other leaves": of_checkpoint(_flipped("leaves")),
    "a checkpoint removed": forget_checkpoint,
    "personal part destroyed": destroy,
    "destroyed by an entry that orders no erasure": destroy_with("($1::int, $2::bigint * 0, 'shop-be')"),
    "destroyed by an erasure at another controller": destroy_with("($1::int, $2::bigint, 'shop-nl')"),
    "destroyed by an erasure of another person": destroy_with("($1::int, $2::bigint + 1, 'shop-be')"),
    "destroyed by an erasure that does not name the controller": destroy_with("($1::int, $2::bigint + 2, 'shop-be')"),
    "destroyed by an erasure from before": destroy_with("($1::int, $2::bigint + 3, 'shop-be')"),
    "destroyed by a run that is no entry": destroy_as_retention,
    "passed off as the work of an erasure": pass_off(),
    "passed off, the evidence taken away": pass_off("UPDATE erasure SET evidence = null, salt = null"),
    "passed off, other evidence named": pass_off(
        "UPDATE erasure SET evidence = (SELECT event_id FROM event WHERE shard = 1 ORDER BY pos LIMIT 1)"
    ),
    "passed off as the work of one more erasure": pass_off(
        "INSERT INTO erasure SELECT 2, shard, pos, controller, done_at, whole, 0, 1, 0, 0, '{}' FROM erasure;"
        " UPDATE destroyed SET erasure = 2 WHERE (shard, pos) NOT IN ((1, 3), (2, 7))"
    ),
    "all made anew but the note": make_anew(note="kept"),
    "all made anew, the note with another root": make_anew(note="rewritten"),
}  # fmt: skip
