"""`consent demo --audit`: a small history is sealed, a consent proved, the database falsified, and that found."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import typer
from rich.text import Text

from consent_ledger.cli.installation import Installation, installed
from consent_ledger.cli.post import Post
from consent_ledger.cli.register import load_all, shipped
from consent_ledger.cli.story import Cast, Said, gave, objected, withdrew
from consent_ledger.cli.telling import Teller, directory
from consent_ledger.cli.terminal import NO, fail, out, run, say_json, table, yes_no
from consent_ledger.cli.verify import audited, public_key
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.supervise import until_told
from consent_ledger.store import log, proofs
from consent_ledger.verifier.audit import Report
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.proof import check_proof
from consent_ledger.verifier.tree import ProofError

_PEOPLE: Final = 12
_REFUSING: Final = 4
_SEALED_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 0.05


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """A proof, checked with nothing but the log's public key."""

    event_id: UUID
    index: int
    size: int
    bytes: int


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """What an administrator did to the database, which entry it was, and what the verifier said of it."""

    what: str
    shard: int
    position: int
    found: str
    ok: bool


class AuditStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that happened."""

    ok: bool
    seconds: float
    recorded: dict[str, int]
    size: int
    verifier_key: str
    proved: Proved
    edits: list[Edit]
    proof_holds: bool
    whole_again: bool


class _Place(NamedTuple):
    shard: int
    position: int


# In the words of somebody who may do everything in the database, and does it so that the database agrees with itself.
_FALSIFIED: Final = {
    "a consent dated back by a year": (
        "consent-given",
        "UPDATE consent.ledger SET occurred_at = occurred_at - interval '1 year' WHERE shard = $1 AND pos = $2",
    ),
    "a refusal deleted": ("consent-withdrawn", "DELETE FROM consent.ledger WHERE shard = $1 AND pos = $2"),
    "an objection turned into a consent": (
        "objection-raised",
        "UPDATE consent.ledger SET type = 'consent-given' WHERE shard = $1 AND pos = $2",
    ),
}


def tell(home: Path | None, *, as_json: bool) -> None:
    """Tell the story on servers of its own; keep everything in `home` if one is given. Exit status 1 if it fails."""
    stories: list[AuditStory] = []
    if not run(until_told(_tell(home, stories, Teller(quiet=as_json)))):
        fail("stopped before the end")
    story = stories[0]
    if as_json:
        say_json(story)
    else:
        _say(story)
    if not story.ok:
        raise typer.Exit(NO)


async def _tell(data: Path | None, stories: list[AuditStory], teller: Teller) -> None:
    teller.begin()
    try:
        async with directory(data) as home:
            stories.append(await _play(home, teller))
    except TimeoutError:
        fail("what must happen did not happen in time; with --data DIR the logs are kept")
    finally:
        teller.end()


async def _play(home: Path, teller: Teller) -> AuditStory:
    began = time.perf_counter()
    said = Settings(_env_file=None).model_copy(update={"database_url": None, "kafka_bootstrap_servers": None})
    async with AsyncExitStack() as stack:
        installation = await stack.enter_async_context(installed(home, said, report=teller.note))
        settings = installation.settings
        teller.done("Kafka, PostgreSQL and the five services are up", "recording a history")
        history = await _record(installation)
        report = await _sealed(settings, history)
        teller.done(f"{report.size} entries are recorded, sealed and published", "proving one consent")
        consent = next(one for one in history if one.kind == "consent-given")
        proof = await _proof(settings, consent.id)
        key = await public_key(settings)
        proven = check_proof(proof, VerifierKey.parse(key))
        teller.done("one consent is proved, by a file and a public key", "falsifying the database")
        edits = [await _falsify(settings, history, what) for what in _FALSIFIED]
        teller.done(f"{len(edits)} falsifications were made, and looked for", "stopping")
        whole = (await audited(settings, VerifierKey.parse(key))).finding is None
        holds = _holds(proof, key)
        return AuditStory(
            ok=all(edit.ok for edit in edits) and whole and holds,
            seconds=round(time.perf_counter() - began, 1),
            recorded=_counted(history), size=report.size, verifier_key=key,
            proved=Proved(event_id=consent.id, index=proven.leaf_index, size=proven.checkpoint.size, bytes=len(proof)),
            edits=edits, proof_holds=holds, whole_again=whole,
        )  # fmt: skip


async def _record(installation: Installation) -> list[Said]:
    """Let people consent, and some of them take it back."""
    for loaded in await load_all(installation.settings, shipped()):
        if loaded.problem is not None:
            fail(f"register {loaded.name}: {loaded.problem}", NO)
    post, people = Post(installation.settings), Cast().people(_PEOPLE)
    try:
        for person in people:
            for said in gave(person):
                await post.send(said)
        for number, person in enumerate(people[:_REFUSING]):
            await post.send(withdrew(person) if number % 2 else objected(person))
    finally:
        await post.close()
    return post.acknowledged


async def _sealed(settings: Settings, history: Sequence[Said]) -> Report:
    """Wait until every event of a history is in the log, and have the log checked."""
    connection = await connect(settings.dsn, "consent_operator")
    try:
        async with asyncio.timeout(_SEALED_SECONDS):
            for said in history:
                while (place := await log.place_of(connection, said.id)) is None or (
                    await log.index_of(connection, *place)
                ) is None:
                    await asyncio.sleep(_ASK_SECONDS)
    finally:
        await connection.close()
    return await audited(settings, VerifierKey.parse(await public_key(settings)))


async def _proof(settings: Settings, event_id: UUID) -> bytes:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        found = await proofs.proof(connection, *await _place(connection, event_id))
    finally:
        await connection.close()
    if found is None:
        fail("an entry that was sealed cannot be proved", NO)
    return found


async def _place(connection: "asyncpg.Connection[asyncpg.Record]", event_id: UUID) -> _Place:
    place = await log.place_of(connection, event_id)
    if place is None:
        fail("an event that was acknowledged is no entry", NO)
    return _Place(*place)


async def _falsify(settings: Settings, history: Sequence[Said], what: str) -> Edit:
    """Falsify one entry as the superuser, have the ledger checked, and undo it."""
    kind, statement = _FALSIFIED[what]
    event = next(one for one in history if one.kind == kind)
    async with _superuser(settings) as superuser:
        place = await _place(superuser, event.id)
        await superuser.execute(
            "CREATE TEMPORARY TABLE kept AS SELECT * FROM consent.ledger WHERE shard = $1 AND pos = $2", *place
        )
        await superuser.execute(statement, *place)
        try:
            finding = (await audited(settings, VerifierKey.parse(await public_key(settings)))).finding
        finally:
            await superuser.execute("DELETE FROM consent.ledger WHERE shard = $1 AND pos = $2", *place)
            await superuser.execute("INSERT INTO consent.ledger SELECT * FROM kept")
    return Edit(
        what=what, shard=place.shard, position=place.position, found=str(finding or "nothing"),
        ok=finding is not None and (finding.shard, finding.position) == place,
    )  # fmt: skip


@asynccontextmanager
async def _superuser(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Connect as somebody whom neither rights nor triggers stop."""
    options = {"search_path": "consent", "session_replication_role": "replica"}
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(settings.dsn, server_settings=options)
    try:
        yield connection
    finally:
        await connection.close()


def _holds(proof: bytes, key: str) -> bool:
    try:
        check_proof(proof, VerifierKey.parse(key))
    except ProofError:
        return False
    return True


def _counted(history: Sequence[Said]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for said in history:
        counted[said.kind] = counted.get(said.kind, 0) + 1
    return counted


def _say(story: AuditStory) -> None:
    out.print()
    out.print(table("Recorded, and sealed", "event", "entries", rows=list(story.recorded.items()), right=(1,)))
    proved = story.proved
    out.print(Text(f"\nAnybody checks the log by this key: {story.verifier_key}"), soft_wrap=True)
    out.print(f"The proof of {proved.event_id} has {proved.bytes:,} bytes: entry {proved.index} of {proved.size}.\n")
    rows: list[tuple[Any, ...]] = [
        (edit.what, f"shard {edit.shard}, position {edit.position}", edit.found,
         yes_no(yes=edit.ok, text="✓" if edit.ok else "✗"))
        for edit in story.edits
    ]  # fmt: skip
    out.print(
        table("Done to the database by its superuser, and undone", "what", "where", "the verifier says", "", rows=rows)
    )
    held = "the proof made before holds all the while" if story.proof_holds else "THE PROOF DOES NOT HOLD"
    whole = "the ledger is as it was sealed again" if story.whole_again else "THE LEDGER IS NOT AS IT WAS SEALED"
    out.print(Text(f"\nAfterwards {whole}, and {held}: {story.seconds:.0f} s.", style="bold"))
