"""Unsubscribe links: a click is a refusal, at once; looking is nothing.

Seen to fail: GET that publishes; a redirect after POST; a POST refused for its body; a token that dies with its first
use, or with the renewal of keys; the purpose's absence taken for an error; a withdrawal where the
basis is legitimate interest; the token in a log line or a label; the outbox left undelivered; 200 without Kafka and
without an outbox; 404 while the keys cannot be read; a page without its policy.
"""

import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from pydantic import SecretStr

from api.served import Api, question, served
from builders import email, given
from consent_ledger.domain.unsubscribe import TokenKey, seal
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import unsubscribe
from running import Installation, until

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
Address = Callable[[], str]


async def key_of(installation: Installation, controller: str = "shop-be", *, renewed: bool = False) -> TokenKey:
    connection = await connect(installation.settings.dsn, "consent_operator")
    try:
        make = unsubscribe.add_key if renewed else unsubscribe.newest_key
        return await make(connection, installation.keks, controller)
    finally:
        await connection.close()


async def path_for(
    installation: Installation, address: str, purpose: str = "newsletter", *, controller: str = "shop-be"
) -> str:
    key = await key_of(installation, controller)
    return f"/u/{seal(key, purpose=purpose, channel='email', address=address)}"


@pytest.fixture
async def reader(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without any key, who follows no redirect."""
    async with httpx.AsyncClient(base_url=api.client.base_url, timeout=40) as client:
        yield client


async def reason(api: Api, address: str, **fields: Any) -> str:
    (answer,) = await api.decide(question(address, **fields))
    return str(answer["reason"])


async def turned(api: Api, address: str, wanted: str, **fields: Any) -> None:
    async def has() -> bool:
        return await reason(api, address, **fields) == wanted

    await until(has)


async def test_a_click_takes_the_consent_back_and_looking_does_not(
    api: Api, reader: httpx.AsyncClient, address: Address
) -> None:
    person = address()
    await api.recorded(given(email(person)))
    path = await path_for(api.installation, person)

    before = await api.installation.ends()
    seen = [await reader.get(path), await reader.head(path), await reader.get(path + "?List-Unsubscribe=One-Click")]
    after_looking = await api.installation.ends()
    clicked = await reader.post(path, data=ONE_CLICK)

    assert [one.status_code for one in seen] == [200, 200, 200]
    assert before == after_looking
    assert clicked.status_code == 200
    assert "set-cookie" not in clicked.headers
    await turned(api, person, "CONSENT_WITHDRAWN")


async def test_an_old_mail_works_again_after_a_new_subscription(
    api: Api, reader: httpx.AsyncClient, address: Address
) -> None:
    person = address()
    path = await path_for(api.installation, person)
    try:
        api.clock.instant = datetime(2026, 3, 1, tzinfo=UTC)
        await reader.post(path, data=ONE_CLICK)
        api.clock.instant = None
        await turned(api, person, "CONSENT_WITHDRAWN")
        await api.recorded(given(email(person), time="2026-03-02T00:00:00Z"))
        again = await reason(api, person)

        await reader.post(path, data=ONE_CLICK)
    finally:
        api.clock.instant = None

    assert again == "CONSENT"
    await turned(api, person, "CONSENT_WITHDRAWN")


@pytest.mark.parametrize("body", [b"", b"List-Unsubscribe=Never", b"\xff\x00", b"x" * 100_000])
async def test_no_body_is_a_reason_not_to_act(
    api: Api, reader: httpx.AsyncClient, address: Address, body: bytes
) -> None:
    person = address()
    await api.recorded(given(email(person)))

    answer = await reader.post(await path_for(api.installation, person), content=body)

    assert answer.status_code == 200
    await turned(api, person, "CONSENT_WITHDRAWN")


async def test_on_another_basis_it_is_an_objection(api: Api, reader: httpx.AsyncClient, address: Address) -> None:
    person = address()
    count = "SELECT count(*) AS count FROM ledger WHERE type = 'objection-raised'"
    before = await api.installation.fetch(count)

    await reader.post(await path_for(api.installation, person, "offers", controller="shop-nl"), data=ONE_CLICK)

    await turned(api, person, "OBJECTION_DM", controller="shop-nl", purpose="offers")
    after = await api.installation.fetch(count)
    assert after[0]["count"] == before[0]["count"] + 1


async def test_a_purpose_that_is_registered_no_more_is_refused_all_the_same(
    api: Api, reader: httpx.AsyncClient, address: Address
) -> None:
    person = address()
    await api.recorded(given(email(person)))

    answer = await reader.post(await path_for(api.installation, person, "long-gone"), data=ONE_CLICK)

    assert answer.status_code == 200
    await turned(api, person, "CONSENT_WITHDRAWN")


async def test_links_made_under_an_older_key_go_on_working(installed: Installation, address: Address) -> None:
    old, person = await path_for(installed, address()), address()
    renewed = await key_of(installed, renewed=True)
    new = await path_for(installed, person)

    async with served(installed, barrier_ms=5000) as just_started:
        answers = [await just_started.client.post(path, data=ONE_CLICK) for path in (old, new)]
        await turned(just_started, person, "CONSENT_WITHDRAWN")

    assert [answer.status_code for answer in answers] == [200, 200]
    assert await key_of(installed) == renewed


@pytest.mark.parametrize("token", ["x", "A" * 5000, "AQ" + "A" * 100, "%00", "%2e%2e"])
async def test_what_is_no_token_is_a_page_that_tells_nothing(reader: httpx.AsyncClient, token: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        answer = await reader.request(method, f"/u/{token}")

        assert answer.status_code == 404
        assert "Shop" not in answer.text


@pytest.mark.parametrize(
    ("accepted", "language", "title"),
    [
        ("nl-BE,nl;q=0.9,en;q=0.8", "nl", "Afmelden"),
        ("fr;q=0.3, de-AT;q=0.7", "de", "Abmelden"),
        ("fr", "fr", "Se désabonner"),
        ("ja, *;q=0.1", "en", "Unsubscribe"),
        ("nl;q=0, de;q=x, ,;;", "en", "Unsubscribe"),
        ("", "en", "Unsubscribe"),
    ],
)
async def test_the_page_speaks_the_readers_language_and_names_the_sender(
    api: Api, reader: httpx.AsyncClient, address: Address, accepted: str, language: str, title: str
) -> None:
    person = address()

    answer = await reader.get(await path_for(api.installation, person), headers={"Accept-Language": accepted})

    assert answer.headers["content-language"] == language
    assert f"<h1>{title}</h1>" in answer.text
    assert f'<html lang="{language}">' in answer.text
    assert "Shop BE" in answer.text
    assert person not in answer.text


async def test_a_page_loads_nothing_keeps_nothing_and_passes_its_address_to_nobody(
    api: Api, reader: httpx.AsyncClient, address: Address
) -> None:
    answer = await reader.get(await path_for(api.installation, address()))

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not [part for part in ("src=", "href=", "url(", "<script") if part in answer.text]
    assert answer.text.count("<button") == 1


async def test_no_token_stands_in_a_log_or_a_metric(
    api: Api, reader: httpx.AsyncClient, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    path = await path_for(api.installation, address())

    for method in ("GET", "POST", "PUT"):
        await reader.request(method, path)

    token = path.removeprefix("/u/")
    assert token not in caplog.text
    assert token not in generate_latest().decode()
    assert 'call="/u/{token}"' in generate_latest().decode()


# -- while Kafka or the database is away


async def test_without_kafka_and_without_an_outbox_the_page_says_that_nothing_was_done(
    installed: Installation, address: Address, unused_port: int
) -> None:
    path = await path_for(installed, address())
    async with served(installed, kafka_bootstrap_servers=f"127.0.0.1:{unused_port}") as api:
        answer = await api.client.post(path, data=ONE_CLICK, headers={"Accept-Language": "nl"})

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "Nog niet afgemeld" in answer.text


async def test_with_an_outbox_a_click_is_kept_while_kafka_is_away_and_delivered_later(
    installed: Installation, address: Address, tmp_path: Path, unused_port: int
) -> None:
    person, outbox = address(), tmp_path / "outbox.db"
    path = await path_for(installed, person)
    async with served(installed, kafka_bootstrap_servers=f"127.0.0.1:{unused_port}", outbox=outbox) as cut_off:
        clicked = await cut_off.client.post(path, data=ONE_CLICK)

    async with served(installed, outbox=outbox, barrier_ms=5000) as back:
        await turned(back, person, "CONSENT_WITHDRAWN")

    assert clicked.status_code == 200


async def test_without_the_database_nothing_can_be_told_of_a_link_and_nobody_is_told_it_is_wrong(
    installed: Installation, address: Address, unused_port: int
) -> None:
    path = await path_for(installed, address())
    gone = SecretStr(f"postgresql://nobody@127.0.0.1:{unused_port}/none")
    async with served(installed, database_url=gone) as api:
        answers = [await api.client.get(path), await api.client.post(path, data=ONE_CLICK)]

    assert [answer.status_code for answer in answers] == [503, 503]
