"""No address, and nothing else that is personal, stands in the clear in the database, in logs or in metrics.

Seen to fail: quarantine not encrypted; payloads not encrypted; personal fields copied into the body; the detail of a
rejection quoting the record; the keys of records logged; an address as the label of a metric.
"""

import base64
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from builders import email, encode, event, given, linked, objected, withdrawn
from running import Installation

CANARY = "canary-4711"
ADDRESS = f"{CANARY}@example.be"
MALFORMED = (
    withdrawn(email(ADDRESS), time="yesterday"),
    given(email(ADDRESS), time=CANARY),
    withdrawn(email(f"{CANARY} is not an address")),
    given(email(f"{CANARY} is not an address")),
    given(email(ADDRESS), purposes=CANARY),
    objected(email(ADDRESS), more={CANARY: CANARY}, schema_version=CANARY),
    given(email(ADDRESS), id=CANARY),
    given(email(ADDRESS), subject=ADDRESS),
    {**given(), "subject": ADDRESS},
    event(CANARY, subject=[email(ADDRESS)]),
    encode(given(email(ADDRESS)))[:-1],
    f"\xff{CANARY}".encode("latin-1"),
)
GOOD = (
    given(
        email(ADDRESS),
        {"type": "phone", "value": "+32470471147"},
        evidence={"text_id": "newsletter-nl", "text_version": 1, "ref": CANARY},
        entered_by=CANARY,
        approved_by=CANARY,
        ip=CANARY,
        device=CANARY,
        reason=CANARY,
        age={"birth_date": "1947-11-04"},
        more={"of": CANARY},
    ),
    withdrawn(email(ADDRESS)),
    objected(email(ADDRESS), controllers=None, reason=CANARY),
    linked(email(ADDRESS), {"type": "customer_no", "value": CANARY}),
    event("identifier-changed", controllers=["shop-be"], old=email(ADDRESS), new=email(f"new-{ADDRESS}")),
    event(
        "erasure-refused", controllers=["shop-be"], request_id="0199c3a0-5b00-7000-8000-000000000001", grounds=CANARY
    ),
)
SECRETS = (CANARY, "+32470471147", "32470471147", "1947-11-04")


@pytest.fixture(scope="module")
def log() -> Iterator[list[logging.LogRecord]]:
    """Everything that is logged while the module's tests run."""
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keeper, root = Keeper(logging.DEBUG), logging.getLogger("consent_ledger")
    before = root.level
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    yield records
    root.removeHandler(keeper)
    root.setLevel(before)


@pytest.fixture(scope="module")
async def told(home: Installation, log: list[logging.LogRecord]) -> Installation:
    """The installation after it was told all the secrets, in good events and in bad ones."""
    for said in (*GOOD, *MALFORMED):
        await home.publish(said, key=ADDRESS.encode(), headers=[("trace", ADDRESS.encode()), (CANARY, b"")])
    await home.recorded_to_the_end()
    assert log
    return home


def spellings(secret: str) -> set[bytes]:
    raw = secret.encode()
    return {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")[:-1]}


async def dump(home: Installation) -> bytes:
    """Every row of every table, as text; byte strings stand there in hexadecimal."""
    tables = await home.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'consent'")
    rows = [
        row["text"]
        for table in tables
        for row in await home.fetch(f"SELECT one::text AS text FROM {table['tablename']} AS one")  # noqa: S608
    ]
    return "\n".join(rows).encode()


async def test_no_secret_stands_in_any_table(told: Installation) -> None:
    everything = await dump(told)

    assert [secret for secret in SECRETS for spelling in spellings(secret) if spelling in everything] == []


async def test_the_search_finds_what_is_not_secret(told: Installation) -> None:
    everything = await dump(told)

    for known in ("newsletter-nl", "web:shop-be", "unticked-checkbox"):
        assert any(spelling in everything for spelling in spellings(known))
    rows = await told.fetch(
        "SELECT (SELECT count(*) FROM ledger) AS entries, (SELECT count(*) FROM quarantine) AS kept"
    )
    assert rows[0]["entries"] >= len(GOOD)
    assert rows[0]["kept"] == len(MALFORMED)


async def test_no_secret_is_logged(told: Installation, log: list[logging.LogRecord]) -> None:
    said = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in log)

    assert await told.fetch("SELECT 1 FROM quarantine")
    assert "quarantined" in said
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.usefixtures("told")
def test_no_secret_stands_in_the_metrics() -> None:
    metrics = generate_latest().decode()

    assert "consent_quarantined_total" in metrics
    assert [secret for secret in SECRETS if secret in metrics] == []
