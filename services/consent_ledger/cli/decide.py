"""`consent decide`: may this address be used? One address, or a list in and the allowed ones out."""

import csv
import getpass
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import httpx
import typer
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.explanation import say_explanation
from consent_ledger.cli.found import Data
from consent_ledger.cli.lists import Row, Sheet, Summary, opened, written_whole
from consent_ledger.cli.terminal import NO, UNAVAILABLE, USAGE, AsJson, err, fail, out, run, say_json, table, yes_no
from consent_ledger.domain.identifiers import TYPES

_TIMEOUT_SECONDS: Final = 30.0
_CHUNK: Final = 1_000
_BY_CHANNEL: Final = {"email": "email", "phone": "phone", "sms": "phone", "post": "postal", "device": "device"}
_NO_ADDRESS: Final = "NO_ADDRESS"


class ApiSettings(BaseSettings):
    """Where the API is, for commands that use it."""

    model_config = SettingsConfigDict(env_prefix="CONSENT_", env_file=".env", extra="ignore", frozen=True)

    api_url: str | None = None
    api_key: SecretStr | None = None


class Question:
    """A controller's purpose and channel, to be asked about addresses."""

    def __init__(
        self, *, controller: str, purpose: str, channel: str, kind: str | None = None, at: str | None = None,
        as_of: str | None = None,
    ) -> None:  # fmt: skip
        self._said = {"controller": controller, "purpose": purpose, "channel": channel}
        if at is not None:
            self._said["at"] = at
        self._as_of = {} if as_of is None else {"as_of": as_of}
        self._kind = kind or _BY_CHANNEL.get(channel)

    async def ask(
        self, client: httpx.AsyncClient, addresses: list[str], why: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return the answers in the order of the addresses; where the API gives none, the command ends.

        `why`: who wants them explained, and the reason of that look.
        """
        questions = [
            {**self._said, "subject": [{"type": self._kind or kind_of(address), "value": address}]}
            for address in addresses
        ]
        explain = {} if why is None else {"explain": "true"}
        asked = {"questions": questions, **self._as_of, **(why or {})}
        answer = await client.post("/v1/decisions", params=explain, json=asked)
        if not answer.is_success:
            fail(*no_answer(answer))
        decisions: list[dict[str, Any]] = answer.json()["decisions"]
        return decisions


def decide(
    *,
    address: Annotated[str | None, typer.Argument(help="An e-mail address, a phone number, …")] = None,
    controller: Annotated[str, typer.Option(help="Who wants to use it.")],
    purpose: Annotated[str, typer.Option(help="What for.")],
    channel: Annotated[str, typer.Option(help="email, phone, sms, post, device, media or internal.")],
    kind: Annotated[
        str | None, typer.Option("--type", help=f"What the address is: {', '.join(TYPES)}; mostly clear by itself.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV file; addresses in its column `address`, else the first."),
    ] = None,
    allowed: Annotated[Path | None, typer.Option("--out", help="Where the allowed rows go, unchanged.")] = None,
    refused: Annotated[Path | None, typer.Option(help="Where all other rows go, unchanged.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why, and what would change the answer; with an ADDRESS and --reason.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why you look at what is on record; it is recorded.")] = None,
    viewer: Annotated[str | None, typer.Option("--as", help="Who looks; your user name unless said.")] = None,
    at: Annotated[
        str | None, typer.Option(help="When the use was or would be, an instant with its zone; now by default.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="By what was known then: an instant of recording, or `known` of an answer (scope audit)."),
    ] = None,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Ask whether an address may be used; exit status 1 when not.

    Whether a sending of the past was lawful takes two questions: with --at and --as-of of that instant, as it was known
    then; with --at alone, as it is known now.

    With --file and --out a whole list is asked about; then 0 means that every answer is final. The API is the one of
    CONSENT_API_URL and CONSENT_API_KEY, else of the `consent up` that runs on the data directory.
    """
    if (address is None) == (file is None) or (file is None) != (allowed is None):
        fail("give either an ADDRESS, or --file with --out", USAGE)
    if explain and address is None:
        fail("--explain is for one ADDRESS", USAGE)
    if explain and not (reason or "").strip():
        fail("--explain shows what is on record of a person: say with --reason why you look", USAGE)
    if kind is not None and kind not in TYPES:
        fail(f"--type is one of {', '.join(TYPES)}", USAGE)
    question = Question(controller=controller, purpose=purpose, channel=channel, kind=kind, at=at, as_of=as_of)
    if address is not None:
        why = {"reason": reason, "viewer": viewer or getpass.getuser()} if explain else None
        _say_one(run(_ask_one(data, question, address, why)), as_json=as_json)
    elif file is not None and allowed is not None:
        _say_list(run(_sift(data, question, file, allowed, refused, quiet=as_json)), allowed, as_json=as_json)


@asynccontextmanager
async def api_client(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Open a connection to the API of the environment, else of what runs on `data`."""
    said = ApiSettings()
    url, key = said.api_url, said.api_key.get_secret_value() if said.api_key else None
    if url is None or key is None:
        there = found.running(data)
        if there is None:
            fail("CONSENT_API_URL and CONSENT_API_KEY are not set, and no `consent up` runs here: set or start them")
        url, key = url or there.api, key or there.api_key
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS) as client:
        yield client


def kind_of(address: str) -> str:
    """Guess what an address is where the channel does not say it."""
    if "@" in address:
        return "email"
    return "phone" if address.startswith(("+", "00")) else "customer_no"


def no_answer(answer: httpx.Response) -> tuple[str, int]:
    """Say why the API gave none, and the exit status for that."""
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return "the API key does not allow this: look at CONSENT_API_KEY", USAGE
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError):
        detail = answer.reason_phrase
    retry = not answer.is_client_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    return f"the API gives no answer: {detail}", UNAVAILABLE if retry else USAGE


# -- one address


async def _ask_one(data: Path, question: Question, address: str, why: dict[str, Any] | None) -> dict[str, Any]:
    async with api_client(data) as client:
        return (await question.ask(client, [address], why))[0]


def _say_one(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(answer)
    else:
        out.print(Text.assemble(yes_no(yes=answer["allow"]), f"  {answer['reason']}"))
        for name in ("reasons", "basis", "recorded_at", "valid_until"):
            if value := answer.get(name):
                shown = ", ".join(value) if isinstance(value, list) else str(value)
                out.print(Text.assemble((f"    {name}: ", "dim"), shown))
        if explanation := answer.get("explanation"):
            say_explanation(explanation)
        if answer.get("final") is False:
            err.print(Text("This is not final: ask again in a moment.", style="yellow"))
    if not answer["allow"]:
        raise typer.Exit(NO)


# -- a list


async def _sift(
    data: Path, question: Question, file: Path, allowed: Path, refused: Path | None, *, quiet: bool
) -> Summary:
    """Ask about every row, and write it where it belongs."""
    summary, began = Summary(), time.perf_counter()
    with opened(file) as source, written_whole(allowed, refused) as outputs, _progress(quiet=quiet) as progress:
        try:
            sheet = Sheet(source)
            for output in filter(None, outputs):
                output.write(sheet.header)
            task = progress.add_task("asking", rows=0)
            async with api_client(data) as client:
                for rows in sheet.chunks(_CHUNK):
                    await _sift_chunk(client, question, rows, outputs, summary)
                    progress.update(task, rows=summary.asked)
        except csv.Error as error:
            fail(f"{file} is no CSV: {error}", USAGE)
    summary.seconds = round(time.perf_counter() - began, 3)
    return summary


async def _sift_chunk(
    client: httpx.AsyncClient, question: Question, rows: list[Row], outputs: list[TextIO | None], summary: Summary
) -> None:
    asked = [row.address for row in rows if row.address is not None]
    answers = iter(await question.ask(client, asked) if asked else [])
    reasons: Counter[str] = Counter()
    counted = not_final = 0
    for row in rows:
        answer: dict[str, Any] = {"allow": False, "reason": _NO_ADDRESS} if row.address is None else next(answers)
        reasons[answer["reason"]] += 1
        # Whatever is not exactly a yes is a no.
        yes = answer["allow"] is True
        counted += yes
        not_final += answer.get("final") is False
        if (output := outputs[0 if yes else 1]) is not None:
            output.write(row.raw)
    summary.count(reasons, counted, not_final)


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description} {task.fields[rows]:,} rows"), TimeElapsedColumn(),
        console=err, transient=True, disable=quiet or not err.is_terminal,
    )  # fmt: skip


def _say_list(summary: Summary, allowed: Path, *, as_json: bool) -> None:
    if as_json:
        say_json(summary)
    else:
        out.print(table("Answers by reason", "reason", "rows", rows=list(summary.reasons.items()), right=(1,)))
        out.print(
            f"\n{summary.allowed:,} of {summary.asked:,} rows are allowed, in {summary.seconds:.1f} s: {allowed}",
            soft_wrap=True,
        )
    if summary.not_final:
        fail(f"{summary.not_final:,} answers are not final, and count as no: ask again in a moment")
