"""`consent demo`: the whole story on real servers, in about a minute."""

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import msgspec
import typer
from rich.text import Text

from consent_ledger.cli import acts, demo_audit
from consent_ledger.cli.acts import Kill, Kind, Questions, Stage, Turn
from consent_ledger.cli.installation import Installation, installed
from consent_ledger.cli.post import Post
from consent_ledger.cli.proof import Check, prove
from consent_ledger.cli.register import load_all, shipped
from consent_ledger.cli.telling import Teller, directory
from consent_ledger.cli.terminal import NO, USAGE, AsJson, fail, out, run, say_json, table, yes_no
from consent_ledger.cli.watch import watching
from consent_ledger.relay.reconcile import BehindError
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.postgres import connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.supervise import until_told
from consent_ledger.store import keys
from consent_ledger.store.keys import ControllerKey

# A killed process leaves its leases behind; here they pass sooner than where machines may pause for seconds.
_LEASE_SECONDS: Final = 1.5
_HTTP_SECONDS: Final = 10.0


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that happened."""

    ok: bool
    seconds: float
    registers: int
    published: dict[str, int]
    kinds: list[Kind]
    turn: Turn
    kills: list[Kill]
    questions: Questions
    checks: list[Check]


def demo(
    *,
    data: Annotated[
        Path | None, typer.Option(help="Keep everything there afterwards; it must be new. Otherwise nothing is kept.")
    ] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Tell the other story: what is sealed, proved, falsified and found.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell the story: events, answers, one refusal, every process killed once, and the proof that nothing was lost.

    With --audit: a history is sealed, a consent proved, the database falsified, and that is found.
    It brings its own Kafka and PostgreSQL, whatever the environment says.
    """
    if data is not None and data.exists() and any(data.iterdir()):
        fail(f"{data} is not empty: give a new directory", USAGE)
    home = data.expanduser().absolute() if data is not None else None
    if audit:
        demo_audit.tell(home, as_json=as_json)
        return
    stories: list[Story] = []
    if not run(until_told(_tell(home, stories, Teller(quiet=as_json)))):
        fail("stopped before the end")
    story = stories[0]
    if as_json:
        say_json(_data(story))
    else:
        _say(story, data)
    if not story.ok:
        raise typer.Exit(NO)


async def _tell(data: Path | None, stories: list[Story], teller: Teller) -> None:
    began = time.perf_counter()
    teller.begin()
    try:
        async with directory(data) as home:
            stories.append(await _play(home, teller, began, keep=data is not None))
    except TimeoutError:
        fail("what must happen did not happen in time; with --data DIR the logs are kept")
    except BehindError as error:
        fail(f"the relay does not catch up: {error}")
    finally:
        teller.end()


async def _play(home: Path, teller: Teller, began: float, *, keep: bool) -> Story:
    said = Settings(_env_file=None).model_copy(
        update={
            "database_url": None, "kafka_bootstrap_servers": None, "lease_seconds": _LEASE_SECONDS,
            "seal_seconds": demo_audit.SEAL_SECONDS,
        }
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        installation = await stack.enter_async_context(installed(home, said, report=teller.note, brief=True, keep=keep))
        teller.done("Kafka, PostgreSQL and the five services are up", "loading the registers")
        documents = shipped()
        for loaded in await load_all(installation.settings, documents):
            if loaded.problem is not None:
                fail(f"register {loaded.name}: {loaded.problem}", NO)
        teller.done(f"{len(documents)} companies' registers are in force", "publishing events")
        stage = await _stage(stack, installation)
        kinds = await acts.publish_all(stage)
        malformed = await acts.publish_oddities(stage)
        teller.done(f"{len(stage.post.acknowledged)} events of all kinds published and answered", "one refusal")
        turn = await acts.turn(stage)
        teller.done("one person's refusal turned every answer to no", "killing everything once")
        kills, questions = await acts.kill_everything(stage, teller.note)
        teller.done("every process was killed, and came back by itself", "counting everything")
        await stage.post.close()
        checks, _ = await prove(stage, malformed)
        teller.done("everything was counted", "stopping")
        return Story(
            ok=all(check.ok for check in checks) and questions.wrong == 0,
            seconds=round(time.perf_counter() - began, 1),
            registers=len(documents),
            published=_published(stage),
            kinds=kinds, turn=turn, kills=kills, questions=questions, checks=checks,
        )  # fmt: skip


async def _stage(stack: AsyncExitStack, installation: Installation) -> Stage:
    settings, at = installation.settings, installation.addresses
    watcher = await stack.enter_async_context(watching(settings, await _controller_keys(settings)))
    headers = {"Authorization": f"Bearer {at.api_key}"}
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=at.api, headers=headers, timeout=_HTTP_SECONDS))
    post = Post(settings)
    stack.push_async_callback(post.close)
    return Stage(installation, watcher, client, post)


async def _controller_keys(settings: Settings) -> dict[str, ControllerKey]:
    connection = await connect(settings.dsn, "consent_operator")
    try:
        return await keys.controller_keys(connection, KeyFile(settings.key_file))
    finally:
        await connection.close()


def _published(stage: Stage) -> dict[str, int]:
    counted: dict[str, int] = {}
    for said in stage.post.acknowledged:
        counted[said.kind] = counted.get(said.kind, 0) + 1
    return {"all": len(stage.post.acknowledged), **counted}


# -- telling it


def _data(story: Story) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(story)
    told["checks"] = [
        {**told_check, "ok": check.ok} for told_check, check in zip(told["checks"], story.checks, strict=True)
    ]
    return told


def _say(story: Story, data: Path | None) -> None:
    out.print()
    out.print(
        table(
            "From publishing to the answer on the suppressions topic",
            "event", "events", "p50 ms", "p99 ms", "max ms",
            rows=[(kind.kind, kind.events, kind.p50_ms, kind.p99_ms, kind.max_ms) for kind in story.kinds],
            right=(1, 2, 3, 4),
        )
    )  # fmt: skip
    turn = story.turn
    out.print()
    out.print(
        table(
            "One person unsubscribes", "asked", "before", "after", "no within",
            rows=[
                ("over HTTP", turn.http_before, turn.http_after, f"{turn.http_ms:.0f} ms"),
                ("on the topic", turn.topic_before, turn.topic_after, f"{turn.topic_ms:.0f} ms"),
            ],
            right=(3,),
        )
    )  # fmt: skip
    out.print()
    rows = [(kill.what, kill.how, f"{kill.back_after_s:.1f} s") for kill in story.kills]
    out.print(
        table("Killed while events went on", "process", "how", "a refusal acts again after", rows=rows, right=(2,))
    )
    asked = story.questions
    out.print(
        f"meanwhile {asked.asked:,} questions about people who had refused: {asked.wrong} answered yes, "
        f"{asked.unanswered:,} not answered while the API was away"
    )
    out.print()
    proof: list[tuple[Any, ...]] = [
        (check.what, check.expected, check.found, yes_no(yes=check.ok, text="✓" if check.ok else "✗"))
        for check in story.checks
    ]
    out.print(table("Nothing was lost", "", "expected", "found", "", rows=proof, right=(1, 2)))
    _say_end(story, data)


def _say_end(story: Story, data: Path | None) -> None:
    verdict = "All of it held" if story.ok else "Something did not hold"
    out.print(Text(f"\n{verdict}: {story.published['all']:,} events in {story.seconds:.0f} s.", style="bold"))
    where = f" --data {data}" if data is not None else ""
    out.print("\nTry next:")
    for command, meaning in (
        (f"consent up{where} --demo-registers", "the same installation, until you stop it; then, in another terminal:"),
        (f"consent publish{where} events.jsonl", "events of your own; schemas/examples has one of each type"),
        (f"consent decide{where} --controller dekra-be --purpose newsletter-email --channel email an@example.be", ""),
        (f"consent doctor{where}", "how everything stands"),
    ):
        out.print(Text.assemble("  ", (command, "bold"), f"  {meaning}" if meaning else ""), soft_wrap=True)
