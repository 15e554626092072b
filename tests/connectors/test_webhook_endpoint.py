"""From Kafka to a strict receiver: proof before anything is told, two secrets while they change, nobody inside reached.

Seen to fail: any signature taken for proof; one signature during the overlap, two after it; a private address reached;
an IPv4 address in an IPv6 one judged by the outer; a certificate of nobody's taken; a secret that is over left in the
file, in its free pages, or in the log of it; a file that others may read.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomlkit
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from typer.testing import CliRunner, Result

from client.conftest import PARTITIONS, Topic
from client.topic import address, no, purposes, watermark, yes
from connectors.receiver import Receiver, signed
from connectors.test_command import read as records_of
from connectors.webserver import Answer, Request, served
from consent_ledger.cli.main import app
from consent_ledger.connectors import kinds, running
from consent_ledger.connectors.outcome import AwayError, DeniedError, RefusedError
from consent_ledger.connectors.settings import BadConfigurationError
from consent_ledger.connectors.state import State
from consent_ledger.connectors.webhook import settings
from consent_ledger.connectors.webhook.line import Line
from consent_ledger.connectors.webhook.sender import Sender, is_public, new_secret
from consent_ledger.connectors.webhook.settings import WebhookTable
from consent_ledger.domain import webhook
from consent_ledger.domain.acks import read_ack
from consent_ledger.runtime import webhooks
from through.secured import write_certificates

AN, BO = "an@example.be", "bo@example.be"


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    made = Receiver()
    with served(made) as url:
        yield made, f"{url}/consent"
    assert made.wrong == []


def configured(path: Path, topic: Topic, url: str, **differs: Any) -> Path:
    table = {
        "kind": "webhook", "state": str(path / "state"), "url": url, "controllers": ["shop-be"], "allow_private": True,
        "channels": ["email"], "rate": 1000, **differs,
    }  # fmt: skip
    file = path / "connectors.toml"
    prefix = topic.name.removesuffix("suppressions")
    file.write_text(tomlkit.dumps({"prefix": prefix, "kafka": topic.kafka, "connector": {"hook": table}}))
    return file


def consent(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["connector", *arguments])


async def challenged(file: Path, receiver: Receiver) -> int:
    """Show the receiver a new secret, and ask for proof; the exit status."""
    receiver.secrets = [consent("webhook", "secret", "hook", "--config", str(file)).stdout.strip()]
    # The command has an event loop of its own.
    said = await asyncio.to_thread(consent, "webhook", "challenge", "hook", "--config", str(file))
    return said.exit_code


@pytest.fixture
async def said(topic: Topic) -> Topic:
    """An has refused the newsletter, Bo has consented; the topic is fresh."""
    admin = AIOKafkaAdminClient(**topic.kafka)
    await admin.start()
    prefix = topic.name.removesuffix("suppressions")
    await admin.create_topics([NewTopic(f"{prefix}acks", 1, 1)])
    await admin.close()
    await topic.publish_everywhere([purposes()])
    await topic.publish(
        address(AN, {"newsletter": {"email": no("CONSENT_WITHDRAWN")}}), address(BO, {"newsletter": {"email": yes()}})
    )
    await topic.publish_everywhere([watermark(datetime.now(UTC))])
    return topic


async def run(file: Path, *, dry: bool = False) -> running.Report:
    config = kinds.load(file)
    return await running.run("hook", config.connector["hook"], config, once=True, dry=dry)


async def test_from_the_topic_to_the_endpoint_and_back_as_applied(
    tmp_path: Path, said: Topic, receiver: tuple[Receiver, str]
) -> None:
    made, url = receiver
    file = configured(tmp_path, said, url)
    with pytest.raises(BadConfigurationError):
        await run(file)
    assert await challenged(file, made) == 0
    await run(file)
    first = len(made.taken)
    await run(file)

    told = {
        one["identifier"]["hash"]: one["decisions"]["newsletter"]["email"] for one in made.of("suppression.changed")
    }
    assert sorted(one["reason"] for one in told.values()) == ["CONSENT", "CONSENT_WITHDRAWN"]
    assert [one["controller"] for one in made.of("defaults.changed")] == ["shop-be"]
    assert len(made.of("suppressions.complete")) >= 1
    assert [one["type"] for one in made.taken[first:]] in ([], ["suppressions.complete"])
    assert AN not in made.text()
    log = json.loads(consent("webhook", "log", "hook", "--config", str(file), "--json").stdout)
    assert {one["outcome"] for one in log} == {"delivered"}
    assert AN not in str(log)
    assert json.loads(consent("list", "--config", str(file), "--json").stdout)[0]["kind"] == "webhook"


async def test_what_is_delivered_is_acknowledged(tmp_path: Path, said: Topic, receiver: tuple[Receiver, str]) -> None:
    made, url = receiver
    file = configured(tmp_path, said, url)
    assert await challenged(file, made) == 0
    config = kinds.load(file)
    task = asyncio.create_task(running.run("hook", config.connector["hook"], config))
    async with asyncio.timeout(30):
        while len(found := await records_of(said, "acks")) < PARTITIONS:
            assert not task.done()
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert {read_ack(one.key, one.value).consumer for one in found} == {"hook"}
    assert len(made.of("suppression.changed")) == 2


async def test_what_was_never_told_is_found_and_told(
    tmp_path: Path, said: Topic, receiver: tuple[Receiver, str]
) -> None:
    made, url = receiver
    file = configured(tmp_path, said, url)
    assert await challenged(file, made) == 0
    await run(file)
    # As after a restored directory, whose place is ahead of what it tells of.
    state = State(tmp_path / "state")
    with state.connection as connection:
        connection.execute("DELETE FROM told WHERE key = (SELECT min(key) FROM told WHERE key GLOB 'address/*')")
    state.close()
    before = len(made.of("suppression.changed"))
    config = kinds.load(file)
    dry = await running.reconcile("hook", config.connector["hook"], config, dry=True)
    await running.reconcile("hook", config.connector["hook"], config)
    again = await running.reconcile("hook", config.connector["hook"], config)
    await run(file)

    assert (dry.counts["to be told"], again.counts["to be told"]) == (1, 0)
    assert len(made.of("suppression.changed")) == before + 1


async def test_a_dry_run_tells_what_would_be_sent(tmp_path: Path, said: Topic, receiver: tuple[Receiver, str]) -> None:
    made, url = receiver
    file = configured(tmp_path, said, url)
    assert await challenged(file, made) == 0
    report = await run(file, dry=True)

    assert made.taken == []
    assert sum(one.startswith("send address/") for one in report.would) == 2


# -- proof


@pytest.mark.parametrize(
    "prove",
    [
        lambda _, text: {"signature": text},
        lambda request, _: {"signature": request.headers["webhook-signature"]},
        lambda request, text: {"signature": signed(new_secret(), request, text)},
        lambda _, __: {},
        lambda _, __: "no",
    ],
)
async def test_who_does_not_hold_the_secret_is_told_nothing(
    tmp_path: Path, said: Topic, receiver: tuple[Receiver, str], prove: Any
) -> None:
    made, url = receiver
    file = configured(tmp_path, said, url)
    made.prove = prove

    assert await challenged(file, made) == 1
    with pytest.raises(BadConfigurationError):
        await run(file)
    assert made.taken == []


def table(tmp_path: Path, url: str, **differs: Any) -> WebhookTable:
    return WebhookTable(
        state=str(tmp_path / "state"), url=url, controllers=("shop-be",), **{"allow_private": True, **differs}
    )


async def test_while_secrets_change_both_sign(tmp_path: Path, receiver: tuple[Receiver, str]) -> None:
    made, url = receiver
    now = datetime.now(UTC).timestamp()
    hook = table(tmp_path, url)
    old = settings.renew_secret(hook, clock=lambda: now - 3600)
    new = settings.renew_secret(hook, 3600 + 60, clock=lambda: now - 3600 + 1)
    counts = []
    for secret, at in ((old, now), (new, now), (new, now + 120)):
        made.secrets = [secret]
        made.prove = lambda request, text: {"signature": signed(new, request, text)}
        assert await settings.challenge(hook, lambda at=at: at)  # type: ignore[misc]
        counts.append(made.signatures)

    assert counts == [2, 2, 1]
    assert (tmp_path / "state" / "connector.db").stat().st_mode & 0o077 == 0


async def test_secrets_that_were_given_up_sign_nothing(tmp_path: Path, receiver: tuple[Receiver, str]) -> None:
    made, url = receiver
    hook = table(tmp_path, url)
    settings.renew_secret(hook)
    made.secrets = [settings.renew_secret(hook, 0.0)]

    assert await settings.challenge(hook)
    assert made.signatures == 1


def held(state: Path) -> bytes:
    """All that lies on the disk."""
    return b"".join(path.read_bytes() for path in state.iterdir())


@pytest.mark.parametrize("overlap", [0.0, 60.0])
def test_a_secret_that_is_over_is_nowhere_on_the_disk(tmp_path: Path, overlap: float) -> None:
    now = datetime.now(UTC).timestamp()
    state = State(tmp_path)
    line = Line(state.connection)
    old, new = new_secret(), new_secret()
    line.renew(old, now, overlap)
    before = held(tmp_path)
    line.renew(new, now + 1, overlap)
    while_both = line.secrets(now + 2)
    after = line.secrets(now + 62)

    assert (while_both, after) == ([new, old] if overlap else [new], [new])
    assert old.encode() in before
    assert old.encode() not in held(tmp_path)
    assert new.encode() in held(tmp_path)


def test_only_its_owner_reads_what_a_connector_keeps(tmp_path: Path, receiver: tuple[Receiver, str]) -> None:
    hook = table(tmp_path, receiver[1])
    state = State(Path(hook.state))
    settings.renew_secret(hook)
    rights = {path.name: path.stat().st_mode & 0o077 for path in (state.directory, *state.directory.iterdir())}
    state.close()

    # Beside the file SQLite keeps a log of it, with the same in it.
    assert rights.keys() >= {"state", "connector.db", "connector.db-wal"}
    assert set(rights.values()) == {0}


# -- where it goes


def sender(url: str, **differs: Any) -> Sender:
    secret = new_secret()
    return Sender(url, lambda: [secret], rate=1000, clock=lambda: datetime.now(UTC).timestamp(), **differs)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_nothing_is_sent_to_a_private_address(host: str) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(200)

    with served(answer) as url:
        port = url.rpartition(":")[2]
        one = sender(f"http://{host}:{port}/")
        with pytest.raises(DeniedError):
            await one.send("msg_1", b"{}")
        await one.close()
    assert asked == []


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("64:ff9b::5db8:d822", True),
        ("::ffff:93.184.216.34", True),
        ("10.0.0.1", False), ("172.16.3.4", False), ("192.168.1.1", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("fd00::1", False), ("fe80::1%eth0", False), ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False), ("2002:a00:1::", False), ("ff02::1", False),
    ],
)  # fmt: skip
def test_addresses_are_public_or_not(given: str, public: bool) -> None:  # noqa: FBT001
    assert is_public(given) is public


async def test_a_redirect_is_not_followed(receiver: tuple[Receiver, str]) -> None:
    made, url = receiver
    with served(lambda _: Answer(307, None, (("Location", url),))) as elsewhere:
        one = sender(elsewhere, allow_private=True)
        with pytest.raises(RefusedError):
            await one.send("msg_1", b"{}")
        await one.close()
    assert made.requests == []


@contextmanager
def over_tls(path: Path) -> Iterator[tuple[str, Path]]:
    """A server that takes everything over TLS, and the certificate of who vouches for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    authority, own = path / "ca.pem", path / "own.pem"
    write_certificates(authority, own)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}/", authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_only_who_is_vouched_for_is_told(tmp_path: Path) -> None:
    with over_tls(tmp_path) as (url, authority):
        trusting = sender(url, allow_private=True, ca_file=str(authority))
        await trusting.send("msg_1", b"{}")
        await trusting.close()
        strict = sender(url, allow_private=True)
        with pytest.raises(AwayError):
            await strict.send("msg_1", b"{}")
        await strict.close()


def test_without_tls_only_this_network_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="https"):
        table(tmp_path, "http://hooks.example.be/", allow_private=False)


def test_a_message_has_what_its_schema_names_and_no_more() -> None:
    schema = webhooks.schema(webhook.EndpointChallenge)
    body = json.loads(webhook.challenge("text", datetime.now(UTC)))

    jsonschema.validate(body, schema)
    for wrong in ({**body, "more": 1}, {name: body[name] for name in ("data", "timestamp")}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
