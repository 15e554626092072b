"""`consent import dnc`: a whole do-not-call register, all or nothing."""

import asyncio
import hmac
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import msgspec
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from consent_ledger.cli import call_lists, found
from consent_ledger.cli.call_lists import BadLine, Number
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, UNAVAILABLE, USAGE, AsJson, err, fail, out, run, say_json
from consent_ledger.domain import register as registers
from consent_ledger.domain.catalogue import CALL_SNAPSHOT
from consent_ledger.domain.cloudevents import build, uuid7
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.domain.register import Register
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.publish import publishing
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import EVENTS
from consent_ledger.store import dnc, keys, ledger

_SOURCE: Final = "dncm-feed"
_BATCH: Final = 20_000
_LISTED_MAX: Final = 1_000
_SHOWN_MAX: Final = 20
_KEPT_SHARE: Final = 0.9
_ACTIVE_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 0.02
# A step is counted by statements over the whole list.
_LIMITS: Final = {"statement_timeout": "0", "work_mem": "256MB"}


class Bad(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line; nothing of its content."""

    line: int
    problem: str


class Imported(msgspec.Struct, kw_only=True):
    """What became of an import. `active`: the snapshot counts; `problem` says why it does not.

    `cleared`: imports cut short before, whose traces are gone now. `digest` is keyed, so that no number can be guessed
    from it.
    """

    register: str
    snapshot_at: datetime
    active: bool = False
    problem: str | None = None
    snapshot: UUID | None = None
    was_active: bool = False
    numbers: int = 0
    digest: str = ""
    controllers: list[str] = msgspec.field(default_factory=list)
    bad: int = 0
    bad_lines: list[Bad] = msgspec.field(default_factory=list)
    cleared: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be imported, and what may be wrong with it."""

    file: Path
    register: str
    snapshot_at: datetime
    source: str | None = None
    bad_max: int = 100
    may_shrink: bool = False


class RefusedError(Exception):
    """The list is not imported, and nothing of it is kept; the message says why."""


def dnc_command(
    *,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="One number per line (text, CSV, .gz), in full: +32…")
    ],
    register: Annotated[str, typer.Option(help="Do-not-call register, as the processing register names it.")],
    snapshot_at: Annotated[str, typer.Option(help="When the list was drawn up: an instant with its zone.")],
    source: Annotated[str | None, typer.Option(help="Who says so; by default the source of that register.")] = None,
    bad_max: Annotated[
        int, typer.Option(min=0, help="With more unreadable lines than this nothing is imported.")
    ] = 100,
    may_shrink: Annotated[bool, typer.Option("--may-shrink", help="Take a list much shorter than the last.")] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Import a full snapshot of a do-not-call register: it replaces the last one at one instant, or not at all.

    Lines that cannot be read are named by their numbers. A column `registered_at` says since when a number is listed.
    """
    plan = Plan(
        file=file, register=register, snapshot_at=_instant(snapshot_at), source=source, bad_max=bad_max,
        may_shrink=may_shrink,
    )  # fmt: skip
    imported = run(import_snapshot(found.settings(data), plan, quiet=as_json))
    if as_json:
        say_json(imported)
    else:
        _say(imported)
    if not imported.active:
        raise typer.Exit(NO)


def _instant(said: str) -> datetime:
    try:
        instant = datetime.fromisoformat(said)
    except ValueError:
        fail("--snapshot-at is no instant like 2026-11-20T06:00:00+01:00", USAGE)
    if instant.tzinfo is None:
        fail("--snapshot-at needs a zone, as in 2026-11-20T06:00:00+01:00", USAGE)
    if instant > datetime.now(UTC):
        fail("--snapshot-at lies in the future", USAGE)
    return instant.astimezone(UTC)


async def import_snapshot(settings: Settings, plan: Plan, *, quiet: bool = True) -> Imported:
    """Load a list beside the one that counts, then publish the one event that makes it count, and wait until it does.

    Cut short before the event is published, nothing has changed; what was loaded is cleared by the next import.
    """
    imported = Imported(register=plan.register, snapshot_at=plan.snapshot_at)
    connection = await connect(settings.dsn, "consent_operator", **_LIMITS)
    try:
        register = await _register(connection, plan)
        if not await dnc.lock_register(connection, plan.register):
            imported.problem = "another import of this register is under way"
            return imported
        imported.cleared = await dnc.forget_unfinished(connection, plan.register)
        imported.controllers = list(register.callers(plan.register))
        with _progress(quiet=quiet) as progress:
            await _Import(connection, settings, plan, imported, progress).run(register)
    except RefusedError as error:
        imported.problem = str(error)
    finally:
        await connection.close()
    return imported


async def _register(connection: Connection, plan: Plan) -> Register:
    version, document = await ledger.read_register(connection)
    register = registers.compile(document, version)
    if plan.register not in register.call_registers:
        fail(f"the processing register in force knows no do-not-call register {plan.register}", USAGE)
    if not register.callers(plan.register):
        fail(f"no purpose of the processing register in force asks {plan.register}", USAGE)
    return register


class _Import:
    """One import under way; holds a batch of numbers at a time."""

    def __init__(
        self, connection: Connection, settings: Settings, plan: Plan, imported: Imported, progress: Progress
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._plan = plan
        self._imported = imported
        self._progress = progress

    async def run(self, register: Register) -> None:
        plan, imported = self._plan, self._imported
        id_ = uuid7(datetime.now(UTC))
        source = plan.source or register.document["dnc_registers"][plan.register].get("source") or _SOURCE
        await dnc.add_snapshot(
            self._connection, id_, register=plan.register, source=source, snapshot_at=plan.snapshot_at,
            numbers=0, digest="",
        )  # fmt: skip
        try:
            await self._load(id_)
            await self._check_size(id_)
            same = await dnc.same_snapshot(
                self._connection, plan.register, plan.snapshot_at, imported.digest, imported.controllers
            )
            if same is not None:
                imported.snapshot, imported.active, imported.was_active = same, True, True
                await dnc.forget_unfinished(self._connection, plan.register)
                return
            await self._count(id_)
        except BaseException:
            await dnc.forget_unfinished(self._connection, plan.register)
            raise
        imported.snapshot = id_
        await self._publish(id_, source)
        await self._wait(id_)

    # -- loading

    async def _load(self, id_: UUID) -> None:
        service = await keys.service_keys(self._connection, KeyFile(self._settings.key_file))
        digest = hmac.new(service["digest"], digestmod="sha256")
        controller_keys = await keys.controller_keys(self._connection, KeyFile(self._settings.key_file))
        hash_keys = {name: controller_keys[name].key for name in self._imported.controllers}
        task = self._progress.add_task("loading", total=self._plan.file.stat().st_size)
        try:
            with call_lists.opened(self._plan.file) as (source, position):
                numbers = self._readable(call_lists.numbers(source, digest.update))
                while batch := list(islice(numbers, _BATCH)):
                    for controller, key in hash_keys.items():
                        await dnc.load(self._connection, id_, controller, _hashed(key, batch))
                    self._progress.update(task, completed=position())
        except (EOFError, zlib.error, OSError) as error:
            raise RefusedError(f"the file is damaged or cut short ({type(error).__name__})") from None
        self._imported.digest = digest.hexdigest()

    def _readable(self, numbers: Iterator[Number | BadLine]) -> Iterator[Number]:
        imported = self._imported
        for one in numbers:
            if isinstance(one, Number):
                yield one
                continue
            imported.bad += 1
            if imported.bad <= _LISTED_MAX:
                imported.bad_lines.append(Bad(line=one.line, problem=one.problem))
            if imported.bad > self._plan.bad_max:
                raise RefusedError(f"more than {self._plan.bad_max} lines cannot be read")
            if one.number is not None:
                yield one.number

    async def _check_size(self, id_: UUID) -> None:
        """A list that was cut short would free every number that is missing."""
        imported = self._imported
        imported.numbers = await dnc.count_loaded(self._connection, id_, imported.controllers[0])
        newest = (await dnc.newest(self._connection)).get(self._plan.register)
        if self._plan.may_shrink:
            return
        if imported.numbers == 0:
            raise RefusedError("the list has no number: --may-shrink takes it all the same")
        if newest is not None and imported.numbers < _KEPT_SHARE * newest.numbers:
            raise RefusedError(
                f"the list has {imported.numbers:,} numbers and the last one {newest.numbers:,}: "
                "--may-shrink takes it all the same"
            )

    async def _count(self, id_: UUID) -> None:
        plan, imported = self._plan, self._imported
        task = self._progress.add_task("comparing with the last snapshot", total=len(imported.controllers))
        known = await dnc.steps(self._connection)
        for controller in imported.controllers:
            steps = known.get((plan.register, controller), ())
            await dnc.add_steps(self._connection, id_, plan.register, controller, plan.snapshot_at, steps)
            self._progress.advance(task)
        await dnc.finish_loading(self._connection, id_, numbers=imported.numbers, digest=imported.digest)

    # -- activating

    async def _publish(self, id_: UUID, source: str) -> None:
        plan, imported = self._plan, self._imported
        said = {"register": plan.register, "digest": imported.digest, "count": imported.numbers}
        value = build(CALL_SNAPSHOT, source, plan.snapshot_at, said, id_)
        async with publishing(self._settings.kafka(), f"{self._settings.topic_prefix}{EVENTS}") as publisher:
            await publisher.send(plan.register.encode(), value)

    async def _wait(self, id_: UUID) -> None:
        self._progress.add_task("waiting for the ledger", total=None)
        try:
            async with asyncio.timeout(_ACTIVE_SECONDS):
                while True:
                    snapshot = await dnc.snapshot(self._connection, id_)
                    if snapshot is None or snapshot.state == "refused":
                        raise RefusedError((snapshot and snapshot.problem) or "it was cleared away")
                    if snapshot.state == "active":
                        self._imported.active = True
                        return
                    await asyncio.sleep(_ASK_SECONDS)
        except TimeoutError:
            fail(
                f"the list is published but does not count after {_ACTIVE_SECONDS:.0f} s: do the services run?",
                UNAVAILABLE,
            )


def _hashed(key: bytes, batch: Sequence[Number]) -> Iterator[tuple[bytes, datetime | None]]:
    return ((address_hash(key, "phone", number.value), number.registered_at) for number in batch)


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
        console=err, transient=True, disable=quiet or not err.is_terminal,
    )  # fmt: skip


def _say(imported: Imported) -> None:
    for bad in imported.bad_lines[:_SHOWN_MAX]:
        err.print(Text.assemble((f"line {bad.line}: ", "yellow"), bad.problem))
    if imported.bad > _SHOWN_MAX:
        err.print(Text(f"… {imported.bad:,} lines in all cannot be read", style="yellow"))
    if imported.problem is not None:
        out.print(Text.assemble(("not imported  ", "bold red"), imported.problem), soft_wrap=True)
        return
    state = "counted already" if imported.was_active else "counts"
    unreadable = f"; {imported.bad:,} lines unreadable" if imported.bad else ""
    out.print(
        f"{imported.register} of {imported.snapshot_at:%Y-%m-%d %H:%M:%S} UTC {state}: "
        f"{imported.numbers:,} numbers for {', '.join(imported.controllers)}{unreadable}",
        soft_wrap=True,
    )
