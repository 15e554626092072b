"""`consent replay`: what the ledger recorded, once more, in order; to people, files or a topic."""

import getpass
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import typer
from aiokafka import AIOKafkaProducer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from consent_ledger.cli import found, history
from consent_ledger.cli.decide import kind_of
from consent_ledger.cli.found import Data
from consent_ledger.cli.sinks import JsonLines, LedgerPage, Mark, Parquet, PersonPage, Sink, Terminal, Topic, opened
from consent_ledger.cli.terminal import UNAVAILABLE, USAGE, err, fail, run
from consent_ledger.runtime import topics
from consent_ledger.runtime.objects import ObjectsError
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import log
from consent_ledger.store import replay as store
from consent_ledger.store.replay import Range, Wanted

_SHOWN_AT_ONCE: Final = 1_000


class Target(StrEnum):
    """What a replay comes as."""

    TABLE = "table"
    JSONL = "jsonl"
    PARQUET = "parquet"
    KAFKA = "kafka"


class Stand(msgspec.Struct, kw_only=True):
    """What the file of `--place` keeps: which replay, up to where the ledger was, where it goes on, and how far out.

    `next` None: all is done.
    """

    question: str
    heads: list[int]
    next: tuple[int, int] | None
    mark: Mark


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is replayed, where to, and from where on."""

    wanted: Wanted
    target: Target
    out: str | None
    topic: str | None
    rate: float
    begin: tuple[int, int]
    heads: list[int] | None
    size: int | None
    place: Path | None
    question: str


def replay(
    *,
    to: Annotated[
        Target | None, typer.Option(help="A table on a terminal and JSON Lines elsewhere, unless said.")
    ] = None,
    out_: Annotated[
        str | None, typer.Option("--out", "-o", help="File for JSON Lines; folder or s3:// URL for Parquet.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Topic for kafka; none of ours.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Records a second to the topic, at most.")] = 1_000.0,
    controller: Annotated[list[str] | None, typer.Option(help="Entries of this controller; repeat for more.")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Entries of this type; repeat for more.")] = None,
    register: Annotated[
        list[int] | None, typer.Option(help="Recorded under this version of the register; repeat for more.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Recorded at this instant or later (RFC 3339, with a zone).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before this instant.")] = None,
    happened_since: Annotated[str | None, typer.Option(help="Occurred at this instant or later.")] = None,
    happened_until: Annotated[str | None, typer.Option(help="Occurred before this instant.")] = None,
    positions: Annotated[
        list[str] | None, typer.Option(metavar="SHARD/FIRST-LAST", help="In these positions; repeat for more.")
    ] = None,
    begin: Annotated[str, typer.Option("--from", metavar="SHARD/POSITION", help="Go on with this entry.")] = "0/0",
    heads: Annotated[str | None, typer.Option(metavar="N,N,…", help="Only entries before these, by shard.")] = None,
    size: Annotated[int | None, typer.Option(help="Only what the log's checkpoint of this size holds.")] = None,
    place: Annotated[
        Path | None, typer.Option(help="File that keeps the place, to go on after an interruption.")
    ] = None,
    person: Annotated[bool, typer.Option("--person", help="One person's entries, in clear: a look.")] = False,
    file: Annotated[Path | None, typer.Option(help="The address stands in this file, - for standard input.")] = None,
    event: Annotated[UUID | None, typer.Option(help="The person is the one of this event.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why you look; it is recorded.")] = None,
    viewer: Annotated[str | None, typer.Option("--as", help="Who looks; your user name unless said.")] = None,
    data: Data = found.DEFAULT_DATA,
) -> None:
    """Replay entries in the order of shard and position; the same entries give the same bytes each time.

    Personal fields stay closed, and addresses are not even there as hashes. Only one person's entries at one controller
    come in clear (--person with --file or --event, and --reason): that is a look, recorded before anything is shown.
    """
    target = to or (Target.TABLE if out_ is None and sys.stdout.isatty() else Target.JSONL)
    if (target is Target.KAFKA) != (topic is not None) or (target is Target.PARQUET and out_ is None):
        fail("say --topic with kafka and only then, and --out with parquet", USAGE)
    if heads is not None and size is not None:
        fail("say --heads or --size, not both", USAGE)
    wanted = Wanted(
        controllers=_some(controller), types=_some(type_), registers=_some(register),
        happened=(_instant(happened_since), _instant(happened_until)), recorded=(_instant(since), _instant(until)),
        ranges=None if positions is None else tuple(_range(one) for one in positions),
    )  # fmt: skip
    plan = Plan(
        wanted=wanted, target=target, out=out_, topic=topic, rate=rate, begin=_place(begin),
        heads=None if heads is None else _numbers(heads), size=size, place=place,
        question=_question(wanted, target, out_, topic, begin, heads, size),
    )  # fmt: skip
    settings = found.settings(data)
    _refuse_own_topics(settings, topic)
    if person or file is not None or event is not None or reason is not None:
        asked = _asked(wanted, reason, viewer, file, event)
        if place is not None:
            fail("a person's entries are shown whole: leave out --place", USAGE)
        run(_replay_person(settings, data, plan, asked))
    else:
        run(_replay(settings, plan))


# -- reading options


def _some(values: list[Any] | None) -> tuple[Any, ...] | None:
    return tuple(sorted(set(values))) if values else None


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        fail(f"no instant: {text}", USAGE)
    if instant.tzinfo is None:
        fail(f"an instant needs a zone, such as Z: {text}", USAGE)
    return instant.astimezone(UTC)


def _place(text: str) -> tuple[int, int]:
    shard, _, position = text.partition("/")
    if not (shard.isdecimal() and position.isdecimal()):
        fail("--from is SHARD/POSITION", USAGE)
    return int(shard), int(position)


def _range(text: str) -> Range:
    shard, _, span = text.partition("/")
    first, _, last = span.partition("-")
    if not (shard.isdecimal() and first.isdecimal() and (last.isdecimal() or not last)):
        fail("--positions is SHARD/FIRST-LAST, or SHARD/POSITION", USAGE)
    return Range(int(shard), int(first), int(last or first) + 1)


def _numbers(text: str) -> list[int]:
    if not all(one.isdecimal() for one in text.split(",")):
        fail("--heads is a list of numbers", USAGE)
    return [int(one) for one in text.split(",")]


def _question(*said: Any) -> str:
    """Name a replay by all that decides what comes out."""
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def _refuse_own_topics(settings: Settings, topic: str | None) -> None:
    """Keep replays off the topics of the installation, where records count."""
    own = {one.name for one in topics.declared(settings.topic_prefix, settings.partitions)}
    if topic in own:
        fail(f"{topic} is a topic of this installation: what stands there counts as news", USAGE)


def _asked(
    wanted: Wanted, reason: str | None, viewer: str | None, file: Path | None, event: UUID | None
) -> dict[str, Any]:  # fmt: skip
    """Make the question for one person, as `consent history` asks it."""
    if reason is None or wanted.controllers is None or len(wanted.controllers) != 1:
        fail("to see a person's entries say --reason, and one --controller", USAGE)
    if event is not None and file is not None:
        fail("give either --event, or an address", USAGE)
    asked: dict[str, Any] = {
        "controller": wanted.controllers[0], "reason": reason, "viewer": viewer or getpass.getuser(),
        "limit": _SHOWN_AT_ONCE,
    }  # fmt: skip
    if event is not None:
        return {**asked, "event_id": str(event)}
    address = history.address_from(file)
    return {**asked, "subject": [{"type": kind_of(address), "value": address}]}


# -- the ledger


async def _replay(settings: Settings, plan: Plan) -> None:
    async with store.reading(settings.dsn) as connection:
        stand = _read_stand(plan)
        if stand is None:
            stand = Stand(
                question=plan.question, heads=await _heads(connection, plan), next=plan.begin, mark={}
            )  # fmt: skip
        if stand.next is None:
            err.print("All of this was replayed already.")
            return
        parts = await store.parts(connection, plan.wanted, stand.heads, stand.next)
        number = 0
        try:
            async with _sink(settings, plan, stand.mark) as sink:
                pages = store.pages(connection, plan.wanted, parts)
                number = await _pour(plan, stand, sink, pages, sum(part.end - part.first for part in parts))
        finally:
            if stand.next is not None and plan.place is None and plan.target is not Target.PARQUET:
                place = f"{stand.next[0]}/{stand.next[1]}"
                err.print(f"Cut off; go on with --from {place} --heads {_listed(stand.heads)}")
    err.print(f"{number:,} entries; the same again: --heads {_listed(stand.heads)}")


async def _heads(connection: Any, plan: Plan) -> list[int]:
    if plan.heads is not None:
        return plan.heads
    if plan.size is None:
        return await store.heads(connection)
    checkpoint = await log.at(connection, plan.size)
    if checkpoint is None:
        fail(f"the log has no checkpoint of just {plan.size} entries", USAGE)
    return checkpoint.heads


async def _pour(
    plan: Plan, stand: Stand, sink: Sink, pages: AsyncIterator[tuple[list[log.Entry], Range]], size: int
) -> int:
    """Hand pages on, keep the place, and return how many entries there were."""
    number = 0
    with _progress() as progress:
        task = progress.add_task("replaying", total=size)
        async for entries, done in pages:
            await sink.write(LedgerPage(entries))
            number += len(entries)
            if plan.place is None:
                stand.next = (done.shard, done.end)
            elif (mark := await sink.mark()) is not None:
                stand.next, stand.mark = (done.shard, done.end), mark
                _keep(plan.place, stand)
            progress.advance(task, done.end - done.first)
        await sink.finish()
    stand.next = None
    if plan.place is not None:
        _keep(plan.place, stand)
    return number


def _read_stand(plan: Plan) -> Stand | None:
    """Read the place of an earlier run; ends the command if it is that of another replay."""
    if plan.place is None or not plan.place.exists():
        return None
    try:
        stand = msgspec.json.decode(plan.place.read_bytes(), type=Stand)
    except msgspec.MsgspecError:
        fail(f"{plan.place} is not the place of a replay", USAGE)
    if stand.question != plan.question:
        fail(f"{plan.place} is the place of another replay", USAGE)
    return stand


def _keep(path: Path, stand: Stand) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(stand))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


@asynccontextmanager
async def _sink(settings: Settings, plan: Plan, mark: Mark) -> AsyncIterator[Sink]:
    """Open what the entries go to; what was not finished then is taken up by `mark` another time."""
    try:
        if plan.target is Target.TABLE:
            yield Terminal()
        elif plan.target is Target.PARQUET:
            yield Parquet(plan.out or "", mark)
        elif plan.target is Target.KAFKA:
            producer = AIOKafkaProducer(**settings.kafka(), enable_idempotence=True, acks="all", linger_ms=5)
            try:
                await producer.start()
                if plan.topic not in await topics.names(settings.kafka()):
                    fail(f"there is no topic {plan.topic}", USAGE)
                yield Topic(producer, plan.topic or "", plan.rate)
            finally:
                await producer.stop()
        elif plan.out in (None, "-"):
            yield JsonLines(None)
        else:
            with opened(Path(plan.out or ""), mark) as file:
                yield JsonLines(file)
    except ObjectsError as error:
        fail(str(error), UNAVAILABLE)


def _listed(heads: Sequence[int]) -> str:
    return ",".join(map(str, heads))


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


# -- one person


async def _replay_person(settings: Settings, data: Path, plan: Plan, asked: dict[str, Any]) -> None:
    number, more = 0, True
    async with _sink(settings, plan, {}) as sink:
        while more:
            answer = await history.look(data, asked)
            shown, look = answer["shown"], answer["look"]["position"]
            page = PersonPage([one for one in shown["entries"] if _is_wanted(plan.wanted, one)])
            await sink.write(page)
            number += len(page)
            err.print(f"This look is recorded as {look['shard']}/{look['position']}.", style="dim")
            asked, more = {**asked, "after": shown["next"]}, shown["next"] is not None
        await sink.finish()
    err.print(f"{number:,} entries of one person")


def _is_wanted(wanted: Wanted, entry: dict[str, Any]) -> bool:
    shard, position = entry["position"]["shard"], entry["position"]["position"]
    return (
        (wanted.types is None or entry["type"] in wanted.types)
        and (wanted.registers is None or entry["register_version"] in wanted.registers)
        and _is_within(entry["occurred_at"], wanted.happened)
        and _is_within(entry["recorded_at"], wanted.recorded)
        and (
            wanted.ranges is None
            or any(one.shard == shard and one.first <= position < one.end for one in wanted.ranges)
        )
    )


def _is_within(text: str, span: tuple[datetime | None, datetime | None]) -> bool:
    instant = datetime.fromisoformat(text)
    return (span[0] is None or instant >= span[0]) and (span[1] is None or instant < span[1])
