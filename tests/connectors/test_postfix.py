"""A real Postfix lets mail of a marked stream out to those only who may have it.

Seen to fail: the gate asked after what permits; a default action that lets mail out while there is no gate; a process
that answers nothing because its event loop is another's; texts beyond ASCII read as bytes; a no that passes taken for
one that stands; a refusal found nowhere in the table.
"""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tomlkit

from client.conftest import Topic
from client.processes import in_another_process
from client.topic import KEY, NOW, SHOP, Clock, address, apply, purposes, view_of, watermark
from connectors.conftest import AN, BO, NO, YES, Gated
from connectors.gated import NEWS, STREAM, configured, mail
from consent_ledger.client import LocalView
from consent_ledger.client.copy import Copy
from consent_ledger.connectors.postfix.server import listening
from running import until

STALE = Clock(NOW + timedelta(minutes=2))


@asynccontextmanager
async def policy(gated: Gated, view: LocalView, **differs: Any) -> AsyncIterator[None]:
    """The policy server of one stream, for the smtpd that asks one."""
    made = configured(policy={"listen": gated.gates["policy"], "stream": [{**STREAM, **differs}]})
    async with listening(made, view):
        yield


@asynccontextmanager
async def table(gated: Gated, view: LocalView) -> AsyncIterator[None]:
    """The table of one stream, for the smtpd that looks recipients up."""
    made = configured(table=[{"listen": gated.gates["table"], "controller": SHOP, "purpose": "newsletter"}])
    async with listening(made, view):
        yield


async def test_each_recipient_of_a_mail_is_judged_by_itself(gated: Gated, copy: Copy) -> None:
    people = [AN, BO, "AN@Example.BE", "stranger@example.be", '"no address"@example.be']

    async with policy(gated, view_of(copy)):
        said = await mail(gated.port("policy"), NEWS, *people)

    assert [(reply.code, reply.text.split()[0]) for reply in said] == [
        (250, "2.1.5"), (554, "5.7.1"), (250, "2.1.5"), (554, "5.7.1"), (554, "5.1.3"),
    ]  # fmt: skip
    assert said[1].text.endswith("The recipient may not be sent this kind of mail (OBJECTION_DM)")
    await until(lambda: _holds(gated.has_delivered(AN)))
    assert not gated.has_delivered(BO)


async def test_mail_of_no_stream_passes(gated: Gated, copy: Copy) -> None:
    async with policy(gated, view_of(copy)):
        said = await mail(gated.port("policy"), "invoices@shop.example", BO)

    assert said[0].code == 250


async def test_a_stream_is_known_by_its_login(gated: Gated, copy: Copy) -> None:
    port = gated.port("policy")

    async with policy(gated, view_of(copy), sender=[], sasl_username=["campaigns"]):
        of_the_login = await mail(port, "anybody@shop.example", BO, login="campaigns")
        of_nobody = await mail(port, "anybody@shop.example", BO)

    assert (of_the_login[0].code, of_nobody[0].code) == (554, 250)


async def test_a_stale_view_defers(gated: Gated, copy: Copy) -> None:
    async with policy(gated, view_of(copy, clock=STALE)):
        said = await mail(gated.port("policy"), NEWS, AN, BO)

    assert [(reply.code, reply.text.split()[0]) for reply in said] == [(450, "4.7.1"), (450, "4.7.1")]
    assert "STALE" in said[0].text


async def test_addresses_of_all_scripts_are_judged(gated: Gated, copy: Copy) -> None:
    apply(copy, address("jérôme@xn--mller-kva.example", YES), address("zoë@xn--mller-kva.example", NO))

    async with policy(gated, view_of(copy)):
        said = await mail(gated.port("policy"), NEWS, "Jérôme@müller.example", "zoë@XN--MLLER-KVA.example")

    assert [reply.code for reply in said] == [250, 554]


async def test_a_refusal_on_the_topic_is_refused_at_rcpt_and_a_killed_gate_defers(
    gated: Gated, topic: Topic, tmp_path: Path
) -> None:
    await topic.publish(purposes(), address(AN, YES))
    await topic.publish_everywhere([watermark(datetime.now(UTC))])

    async def replies(code: int) -> bool:
        return (await mail(gated.port("process"), NEWS, AN))[0].code == code

    async with in_another_process(
        "consent_ledger.connectors.postfix", "--config", str(_file(gated, topic, tmp_path))
    ) as gate:
        await until(lambda: replies(250))
        await topic.publish(address(AN, NO, version=2))
        await until(lambda: replies(554))
        await gate.kill()
        without = await mail(gated.port("process"), NEWS, AN)

    assert without[0].code == 451


async def test_without_a_gate_mail_waits(gated: Gated) -> None:
    said = await mail(gated.port("nobody"), NEWS, AN)

    assert said[0].code == 451


async def test_a_table_refuses_and_passes_as_the_policy_server_does(gated: Gated, copy: Copy) -> None:
    apply(copy, address("jérôme@example.be", YES), address("zoë@example.be", NO))
    people = [AN, BO, "stranger@example.be", '"no address"@example.be', "jérôme@example.be", "zoë@example.be"]

    async with table(gated, view_of(copy)):
        said = await mail(gated.port("table"), "anybody@shop.example", *people)

    assert [(reply.code, reply.text.split()[0]) for reply in said] == [
        (250, "2.1.5"), (554, "5.7.1"), (554, "5.7.1"), (554, "5.1.3"), (250, "2.1.5"), (554, "5.7.1"),
    ]  # fmt: skip
    assert said[1].text.endswith("(OBJECTION_DM)")


async def test_a_table_over_a_stale_view_defers(gated: Gated, copy: Copy) -> None:
    async with table(gated, view_of(copy, clock=STALE)):
        said = await mail(gated.port("table"), NEWS, AN)

    assert said[0].code == 450


async def test_without_a_table_mail_waits(gated: Gated) -> None:
    said = await mail(gated.port("table"), NEWS, AN)

    assert said[0].code == 451


def _file(gated: Gated, topic: Topic, path: Path) -> Path:
    """The configuration of a gate in a process of its own."""
    keys = path / "keys.json"
    key = {"controller": KEY.controller, "kid": KEY.kid, "alg": "HMAC-SHA-256", "key": b64encode(KEY.key).decode()}
    keys.write_text(json.dumps({"keys": [key]}))
    made = {
        "view": {"path": str(path / "view"), "keys": str(keys), "kafka": topic.kafka, "topic": topic.name},
        "policy": {"listen": gated.gates["process"], "stream": [STREAM]},
    }
    file = path / "postfix.toml"
    file.write_text(tomlkit.dumps(made))
    return file


async def _holds(fact: bool) -> bool:  # noqa: FBT001 - a fact
    return fact
