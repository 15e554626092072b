"""`consent demo --audit`: a history is sealed, a consent proved, a falsified database found, and a person erased."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import typer
from rich.text import Text

from consent_ledger.cli.installation import Installation, installed
from consent_ledger.cli.post import Post
from consent_ledger.cli.register import load_all, shipped
from consent_ledger.cli.story import Cast, Said, asked_erasure, erased, gave, objected, withdrew
from consent_ledger.cli.telling import Teller, directory
from consent_ledger.cli.terminal import NO, fail, out, run, say_json, table, yes_no
from consent_ledger.cli.verify import audited, public_key
from consent_ledger.cli.watch import Asked, watching
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.supervise import until_told
from consent_ledger.store import erasure, keys, log, proofs
from consent_ledger.store.falsify import Falsification, Left, falsified, left, superuser
from consent_ledger.verifier.audit import Report
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.proof import check_proof
from consent_ledger.verifier.tree import ProofError

_PEOPLE: Final = 12
_REFUSING: Final = 4
SEAL_SECONDS: Final = 0.25
"""How long an entry may wait for a checkpoint, where somebody watches."""
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


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What there was of the consent of a person who was erased, and what is left of it."""

    event_id: UUID
    before: Left
    after: Left
    answer: str
    proof_holds: bool
    as_sealed: bool


class AuditStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that happened."""

    ok: bool
    seconds: float
    recorded: dict[str, int]
    size: int
    verifier_key: str
    proved: Proved
    edits: list[Edit]
    whole_again: bool
    erased: Erased


class _Place(NamedTuple):
    shard: int
    position: int


# What somebody does who may do everything in the database.
_FALSIFIED: Final[dict[str, tuple[str, Falsification]]] = {
    "a consent dated back by a year": ("consent-given", "date_back"),
    "a refusal deleted": ("consent-withdrawn", "delete"),
    "an objection turned into a consent": ("objection-raised", "allow"),
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
            stories.append(await _play(home, teller, keep=data is not None))
    except TimeoutError:
        fail("what must happen did not happen in time; with --data DIR the logs are kept")
    finally:
        teller.end()


async def _play(home: Path, teller: Teller, *, keep: bool) -> AuditStory:
    began = time.perf_counter()
    said = Settings(_env_file=None).model_copy(
        update={"database_url": None, "kafka_bootstrap_servers": None, "seal_seconds": SEAL_SECONDS}
    )
    async with AsyncExitStack() as stack:
        installation = await stack.enter_async_context(installed(home, said, report=teller.note, brief=True, keep=keep))
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
        whole = (await audited(settings, VerifierKey.parse(key))).finding is None
        teller.done(f"{len(edits)} falsifications were made, looked for, and undone", "erasing a person")
        gone = await _erase(stack, installation, history)
        teller.done("a person was erased", "stopping")
        return AuditStory(
            ok=all(edit.ok for edit in edits) and whole and _is_erased(gone),
            seconds=round(time.perf_counter() - began, 1),
            recorded=_counted(history), size=report.size, verifier_key=key,
            proved=Proved(event_id=consent.id, index=proven.leaf_index, size=proven.checkpoint.size, bytes=len(proof)),
            edits=edits, whole_again=whole, erased=gone,
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


async def _place(connection: Connection, event_id: UUID) -> _Place:
    place = await log.place_of(connection, event_id)
    if place is None:
        fail("an event that was acknowledged is no entry", NO)
    return _Place(*place)


async def _falsify(settings: Settings, history: Sequence[Said], what: str) -> Edit:
    """Falsify one entry as the superuser, have the ledger checked, and undo it."""
    kind, done = _FALSIFIED[what]
    event = next(one for one in history if one.kind == kind)
    async with superuser(settings.dsn) as connection:
        place = await _place(connection, event.id)
        async with falsified(connection, done, *place):
            finding = (await audited(settings, VerifierKey.parse(await public_key(settings)))).finding
    return Edit(
        what=what, shard=place.shard, position=place.position, found=str(finding or "nothing"),
        ok=finding is not None and (finding.shard, finding.position) == place,
    )  # fmt: skip


async def _erase(stack: AsyncExitStack, installation: Installation, history: Sequence[Said]) -> Erased:
    """Erase the first person who had withdrawn, and look at what is left of the consent."""
    settings = installation.settings
    person = next(one.asked for one in history if one.kind == "consent-withdrawn")
    consent = next(one for one in history if one.kind == "consent-given" and one.asked == person)
    watcher = await stack.enter_async_context(watching(settings, await _controller_keys(settings)))
    key, proof = await public_key(settings), await _proof(settings, consent.id)
    async with superuser(settings.dsn) as connection:
        place = await _place(connection, consent.id)
        before = await left(connection, *place)
        order = await _order(settings, person)
        await _sealed(settings, [order])
        async with asyncio.timeout(_SEALED_SECONDS):
            while not await erasure.is_done(connection, await _place(connection, order.id), person.controller):
                await asyncio.sleep(_ASK_SECONDS)
        after = await left(connection, *place)
    report = await audited(settings, VerifierKey.parse(key))
    seen = await watcher.until(person, allow=False, timeout_seconds=_SEALED_SECONDS)
    return Erased(
        event_id=consent.id, before=before, after=after, answer=f"no, {seen.reason}", proof_holds=_holds(proof, key),
        as_sealed=report.finding is None,
    )  # fmt: skip


async def _controller_keys(settings: Settings) -> dict[str, keys.ControllerKey]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return await keys.controller_keys(connection, KeyFile(settings.key_file))
    finally:
        await connection.close()


async def _order(settings: Settings, person: Asked) -> Said:
    """Publish the person's request for erasure, and the order to carry it out."""
    post = Post(settings)
    try:
        request = asked_erasure(person)
        await post.send(request)
        order = erased(person, request)
        await post.send(order)
    finally:
        await post.close()
    return order


def _is_erased(found: Erased) -> bool:
    """Whether the entry and its proof are left, and nothing by which anybody finds or reads the person."""
    gone = (found.after.personal_parts, found.after.keys) == (0, 0) and found.before.personal_parts > 0
    return gone and found.after.entries == 1 and found.proof_holds and found.as_sealed


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
    whole = "the ledger is as it was sealed again" if story.whole_again else "THE LEDGER IS NOT AS IT WAS SEALED"
    out.print(f"Afterwards {whole}.\n")
    erased = story.erased
    counts = list(zip(("entry in the ledger", "encrypted personal parts", "keys that open them", "rows to find it by"),
                      erased.before, erased.after, strict=True))  # fmt: skip
    out.print(table("A person is erased: what was and is left of the consent", "", "before", "after", rows=counts,
                    right=(1, 2)))  # fmt: skip
    out.print(Text.assemble("the proof made before holds: ", yes_no(yes=erased.proof_holds),
                            "; the log is as it was sealed: ", yes_no(yes=erased.as_sealed),
                            f"; the suppressions topic says: {erased.answer}"))  # fmt: skip
    out.print(
        Text(f"\n{'All of it held' if story.ok else 'Something did not hold'}: {story.seconds:.0f} s.", style="bold")
    )
