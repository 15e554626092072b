"""Requests as Postfix writes them are answered as it reads answers; what cannot be judged is deferred, never let out.

Seen to fail: a no that passes taken for one that stands; a failure or another state than RCPT answered DUNNO; a
refusal found nowhere in the table; keys read, and answers written, without their encoding; bytes that are no UTF-8
dropped, which makes another address; what is left of the requests read passed over, or the second of two; a request
without end waited for; another request, or another verb, judged; the address of a failure logged; text without the
reason; a socket that Postfix may not connect to.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.topic import KEY, SHOP, view_of
from connectors.conftest import AN, BO
from connectors.gated import NEWS, STREAM, configured
from consent_ledger.client import Decision, LocalView
from consent_ledger.client.copy import Copy
from consent_ledger.client.local import _PASSING
from consent_ledger.connectors.postfix.answers import FAILED, JUDGED, NOT_AT_RCPT, action
from consent_ledger.connectors.postfix.policy import PolicyProtocol
from consent_ledger.connectors.postfix.server import listening
from consent_ledger.connectors.postfix.settings import Configuration
from consent_ledger.connectors.postfix.table import TableProtocol
from consent_ledger.domain.reasons import RULES


class Broken(LocalView):
    """A view that fails as nobody foresaw."""

    def decide(self, *_: Any, **__: Any) -> Decision:
        raise RuntimeError(AN)


def asked(recipient: str | bytes, **differs: str) -> bytes:
    """A request of smtpd."""
    attributes = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "sender": NEWS, **differs}
    lines = b"".join(f"{name}={value}\n".encode() for name, value in attributes.items())
    return lines + b"recipient=" + (recipient if isinstance(recipient, bytes) else recipient.encode()) + b"\n\n"


def policy(view: LocalView, **differs: Any) -> PolicyProtocol:
    made = configured(policy={"listen": "127.0.0.1:0", "stream": [STREAM], **differs})
    assert made.policy is not None
    return PolicyProtocol(view, made.policy)


def table(view: LocalView) -> TableProtocol:
    made = configured(table=[{"listen": "127.0.0.1:0", "controller": SHOP, "purpose": "newsletter"}])
    return TableProtocol(view, made.table[0])


def said(answer: bytes) -> str:
    """The action of a policy server's answer."""
    text = answer.decode()
    assert text.startswith("action=")
    assert text.endswith("\n\n")
    assert text.count("\n") == 2
    return text.removeprefix("action=").rstrip("\n")


def test_a_no_that_stands_refuses_and_one_for_want_of_knowledge_defers() -> None:
    standing = {reason: action(Decision(allow=False, reason=reason)) for reason in [*RULES, "UNKNOWN_PURPOSE"]}
    passing = {
        reason: action(Decision(allow=False, reason=reason, final=False))
        for reason in ("STALE", "UNAVAILABLE", "REGISTER_CHANGED", "WRONG_KEY", "ASK_HTTP")
    }

    assert standing.pop("NO_ADDRESS").startswith("REJECT 5.1.3 ")
    assert all(text.startswith("REJECT 5.7.1 ") and f"({reason})" in text for reason, text in standing.items())
    assert all(text.startswith("DEFER_IF_PERMIT 4.7.1 ") and f"({reason})" in text for reason, text in passing.items())
    assert action(Decision(allow=True, reason="CONSENT")) == "DUNNO"


def test_a_view_without_the_key_defers_everybody(copy: Copy) -> None:
    answer = said(policy(view_of(copy, keys=())).answer(asked(AN)))

    assert answer.startswith("DEFER_IF_PERMIT 4.7.1 ")


@pytest.mark.parametrize("recipient", [BO, "", "postmaster", "bo@example.be\r", b"an\xf6@example.be", "a b@example.be"])
def test_no_answer_names_the_recipient(copy: Copy, recipient: str | bytes) -> None:
    answer = said(policy(view_of(copy)).answer(asked(recipient)))

    assert answer.startswith("REJECT 5.")
    assert "@" not in answer


@pytest.mark.parametrize("state", ["CONNECT", "EHLO", "MAIL", "DATA", "END-OF-MESSAGE", "VRFY", "ETRN"])
def test_where_recipients_are_not_known_mail_of_a_stream_waits(copy: Copy, state: str) -> None:
    protocol = policy(view_of(copy))

    answer = said(protocol.answer(asked(AN, protocol_state=state)))
    of_no_stream = said(protocol.answer(asked(AN, protocol_state=state, sender="invoices@shop.example")))

    assert answer == NOT_AT_RCPT
    assert of_no_stream == "DUNNO"


@pytest.mark.parametrize("unmatched", ["DUNNO", "REJECT", "DEFER_IF_PERMIT"])
def test_mail_of_no_stream_is_answered_as_configured(copy: Copy, unmatched: str) -> None:
    answer = said(policy(view_of(copy), unmatched=unmatched).answer(asked(AN, sender="")))

    assert answer.split()[0] == unmatched


@pytest.mark.parametrize(
    "request_",
    [
        b"\n\n", b"nonsense\n\n", b"request=smtpd_access_policy\n\n", asked(AN, request="junk"),
        b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=news@shop.example\n\n",
        b"request=smtpd_access_policy\nsender=news@shop.example\nrecipient=an@example.be\n\n",
    ],
)  # fmt: skip
def test_what_is_no_request_defers(copy: Copy, request_: bytes) -> None:
    answer = said(policy(view_of(copy), unmatched="DEFER_IF_PERMIT").answer(request_))

    assert answer.startswith("DEFER_IF_PERMIT 4.")


def test_a_failure_of_the_gate_defers_and_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    view = Broken(tmp_path, [KEY])

    answers = [said(policy(view).answer(asked(AN))), table(view).answer(b"get an@example.be\n").decode()]

    assert answers == [FAILED, f"200 {FAILED.replace(' ', '%20')}\n"]
    assert len(caplog.records) == 2
    assert "an@" not in caplog.text


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalView]:
    """A view that has copied nothing yet."""
    view = LocalView(tmp_path_factory.mktemp("empty"), [KEY])
    yield view
    view.close()


@given(st.binary(max_size=200).filter(lambda value: b"\n" not in value))
def test_no_bytes_whatever_are_answered_with_a_yes(empty: LocalView, value: bytes) -> None:
    of_the_stream = said(policy(empty).answer(asked(value)))
    as_a_request = said(policy(empty, unmatched="REJECT").answer(value + b"\n\n"))
    looked_up = table(empty).answer(b"get " + value + b"\n").decode()
    as_a_line = table(empty).answer(value + b"\n").decode()

    assert of_the_stream.startswith("DEFER_IF_PERMIT 4.7.1 ")
    assert as_a_request.split()[0] in {"REJECT", "DEFER_IF_PERMIT"}
    assert looked_up.startswith(("200 DEFER_IF_PERMIT%204.7.1%20", "400 "))
    assert as_a_line.startswith("400 ")


def test_the_table_finds_whom_it_refuses_only(copy: Copy) -> None:
    lookups = {key: table(view_of(copy)).answer(b"get " + key + b"\n").decode() for key in (
        AN.encode(), BO.encode(), b"%62o@example.be", b"b%20o@example.be", b"BO@EXAMPLE.BE", b"%f6@example.be",
    )}  # fmt: skip

    assert lookups.pop(AN.encode()).startswith("500 ")
    assert [text.split()[0:1] + text.split("%20")[:2][1:] for text in lookups.values()] == [
        ["200", "5.7.1"], ["200", "5.7.1"], ["200", "5.1.3"], ["200", "5.7.1"], ["200", "5.1.3"],
    ]  # fmt: skip


@pytest.mark.parametrize("line", [b"\n", b"get\n", b"get \n", b"put an@example.be x\n", b"GET / HTTP/1.1\n"])
def test_the_table_knows_look_ups_only(copy: Copy, line: bytes) -> None:
    assert table(view_of(copy)).answer(line).startswith(b"400 ")


@given(st.text(min_size=1, max_size=60).filter(lambda text: "\x00" not in text))
def test_a_key_is_read_as_it_was_before_it_was_encoded(text: str) -> None:
    seen = []

    class Recording(LocalView):
        def decide(self, *asked: Any, **_: Any) -> Decision:
            seen.append(asked[1])
            return Decision(allow=True, reason="CONSENT")

    table(Recording("/nonexistent/copy", [])).answer(b"get " + quote_from_bytes(text.encode()).encode() + b"\n")

    assert seen == [text]


@pytest.mark.parametrize("size", [7, 1_000])
async def test_requests_are_read_however_the_network_cuts_them(copy: Copy, size: int) -> None:
    requests = asked(AN) + asked(BO) + asked(AN)

    async with _connected(_policy(), view_of(copy)) as (reader, writer):
        for part in _cut(requests, size):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        answers = [said(await reader.readuntil(b"\n\n")) for _ in range(3)]

    assert [answer.split()[0] for answer in answers] == ["DUNNO", "REJECT", "DUNNO"]


async def test_a_request_without_end_defers_and_is_hung_up_on(copy: Copy) -> None:
    async with _connected(_policy(), view_of(copy)) as (reader, writer):
        writer.write(b"recipient=" + b"a" * (1 << 16))
        answer = await reader.read()

    assert said(answer) == FAILED


async def test_a_socket_of_the_file_system_is_answered_on_and_gone_afterwards(copy: Copy, tmp_path: Path) -> None:
    path = tmp_path / "gate"
    made = configured(policy={"listen": f"unix:{path}", "stream": [STREAM]})

    # The second finds what a killed one leaves.
    for _ in range(2):
        async with listening(made, view_of(copy)):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(asked(BO))
            answer = said(await reader.readuntil(b"\n\n"))
            writer.close()
            assert answer.startswith("REJECT 5.7.1")
            assert path.stat().st_mode & 0o777 == 0o666


def _policy() -> Configuration:
    return configured(policy={"listen": "127.0.0.1:0", "stream": [STREAM]})


@asynccontextmanager
async def _connected(
    made: Configuration, view: LocalView
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with listening(made, view) as listens:
        reader, writer = await asyncio.open_connection(listens[0].host, listens[0].port)
        try:
            yield reader, writer
        finally:
            writer.close()


def _cut(requests: bytes, size: int) -> Sequence[bytes]:
    return [requests[place : place + size] for place in range(0, len(requests), size)]


def test_alerts_are_about_the_metric_of_the_gate_and_reasons_it_can_give() -> None:
    rules = (Path(__file__).parents[2] / "deploy" / "alerts" / "postfix.yml").read_text(encoding="utf-8")

    named = set(re.findall(r"\bconsent_[a-z_]+", rules))
    reasons = {one for some in re.findall(r'reason=~"([A-Z_|]+)"', rules) for one in some.split("|")}

    # A counter is named without its suffix.
    assert named == {f"{name}_total" for name in {metric.name for metric in JUDGED.collect()}}
    assert reasons == {"STALE", "UNAVAILABLE", "REGISTER_CHANGED", "WRONG_KEY", "UNKNOWN_CONTROLLER", "UNKNOWN_PURPOSE"}
    assert reasons <= {*RULES, *_PASSING}
