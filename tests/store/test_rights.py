"""Nobody changes what is recorded: rights per role, and a trigger for those who have all rights.

Seen to fail: update granted to the recorder on the ledger, on quarantine and on a column of payload; delete granted
on event; insert granted to viewer, relay, api and operator on one table each; the trigger of one table left out;
truncate left out of a trigger; the guard of refusals left off index rows, or off personal parts; index rows deleted
by any superuser; payload readable for the api; the trigger left off the keys of links; acks writable for the operator;
the back end of a silent owner ended in the service's own role.
"""

import uuid
from collections.abc import AsyncIterator
from typing import get_args
from urllib.parse import urlsplit

import asyncpg
import pytest

from consent_ledger.domain.catalogue import KINDS
from consent_ledger.runtime.postgres import Connection, Role, connect
from consent_ledger.store import ledger
from running import database_of_its_own
from store.drafts import LEASE, append, batch, claimed, draft

LEDGER = (
    "event",
    "ledger",
    "entry_subject",
    "payload",
    "duplicate",
    "hole",
    "quarantine",
    "register",
    "scheduled_register",
)
ERASABLE = ("payload", "quarantine")
DELETES = {("consent_retention", table): {"DELETE"} for table in ("entry_subject", *ERASABLE)} | {
    ("consent_eraser", "payload"): {"DELETE"},
    ("consent_eraser", "entry_subject"): {"DELETE", "INSERT"},
}
KEYS = ("service_key", "controller_key", "person_key")
DESK = ("quarantine_look", "quarantine_resolution", "void_proposal")
ROLES: tuple[Role, ...] = get_args(Role)
CHANGES = {
    "update": "UPDATE consent.{} SET shard = shard",
    "delete": "DELETE FROM consent.{}",
    "truncate": "TRUNCATE consent.{}",
}
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@pytest.fixture(scope="module")
async def untouched(postgres: str, template: str) -> AsyncIterator[str]:
    async with database_of_its_own(postgres, template) as url:
        yield url


async def try_as(url: str, role: Role, statement: str) -> None:
    connection = await connect(url, role)
    try:
        await connection.execute(statement)
    finally:
        connection.terminate()


async def granted(url: str, role: Role, table: str) -> set[str]:
    connection: Connection = await asyncpg.connect(url)
    try:
        return {
            privilege
            for privilege in PRIVILEGES
            if await connection.fetchval("SELECT has_table_privilege($1, $2, $3)", role, f"consent.{table}", privilege)
        }
    finally:
        connection.terminate()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", LEDGER)
async def test_the_recorder_cannot_change_what_it_recorded(untouched: str, table: str, change: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await try_as(untouched, "consent_recorder", CHANGES[change].format(table))


@pytest.mark.parametrize("table", [*LEDGER, *KEYS])
async def test_the_recorder_may_insert_and_select_and_nothing_else(untouched: str, table: str) -> None:
    assert await granted(untouched, "consent_recorder", table) == {"SELECT", "INSERT"}


async def test_keys_of_links_are_added_by_operators_and_taken_away_by_nobody(untouched: str) -> None:
    for role in ROLES:
        expected = {one: {"SELECT"} for one in ("consent_api", "consent_operator", "consent_keeper")}
        assert await granted(untouched, role, "unsubscribe_key") == expected.get(role, set())
    superuser: Connection = await asyncpg.connect(untouched)
    try:
        for statement in ("DELETE FROM consent.unsubscribe_key", "TRUNCATE consent.unsubscribe_key"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is append-only"):
                await superuser.execute(statement)
    finally:
        await superuser.close()


async def test_no_role_may_update_a_single_column_of_the_ledger(untouched: str) -> None:
    connection: Connection = await asyncpg.connect(untouched)

    may = await connection.fetch(
        "SELECT role, name FROM unnest($1::text[]) AS role, unnest($2::text[]) AS name"
        # Where an erasure destroys a key, it puts what is kept under another one.
        " WHERE has_any_column_privilege(role, 'consent.' || name, 'UPDATE')",
        list(ROLES),
        list(LEDGER),
    )
    await connection.close()

    assert [tuple(one) for one in may] == [("consent_eraser", "payload")]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", LEDGER)
async def test_a_trigger_refuses_even_the_superuser(untouched: str, table: str, change: str) -> None:
    superuser: Connection = await asyncpg.connect(untouched)
    try:
        if change == "delete" and table in ERASABLE:
            await superuser.execute(CHANGES[change].format(table))
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is append-only"):
                await superuser.execute(CHANGES[change].format(table))
    finally:
        await superuser.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE consent.ledger DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON consent.ledger",
        "CREATE OR REPLACE FUNCTION consent.append_only() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end'",
        "SET session_replication_role = replica",
        "CREATE TABLE consent.mine (one int)",
    ],
)
async def test_the_recorder_cannot_get_round_the_trigger(untouched: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await try_as(untouched, "consent_recorder", statement)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "consent_recorder"])
@pytest.mark.parametrize("table", LEDGER)
async def test_only_the_recorder_inserts_into_the_ledger(untouched: str, table: str, role: Role) -> None:
    refused = "is nobody's to add" if "INSERT" in DELETES.get((role, table), ()) else "permission denied"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=refused):
        await try_as(untouched, role, f"INSERT INTO consent.{table} DEFAULT VALUES")

    assert await granted(untouched, role, table) <= {"SELECT"} | DELETES.get((role, table), set())


@pytest.mark.parametrize("table", ["payload", "person_key"])
async def test_the_api_cannot_read_what_is_personal(untouched: str, table: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await try_as(untouched, "consent_api", f"TABLE consent.{table}")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", DESK)
async def test_what_the_desk_did_stays_as_it_is(untouched: str, table: str, change: str) -> None:
    superuser: Connection = await asyncpg.connect(untouched)
    statement = CHANGES[change].format(table).replace("shard = shard", "said = said")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is append-only"):
            await superuser.execute(statement)
    finally:
        await superuser.close()


@pytest.mark.parametrize("table", DESK)
async def test_only_an_officer_acts_at_the_desk(untouched: str, table: str) -> None:
    rights = {role: await granted(untouched, role, table) for role in ROLES}

    assert rights.pop("consent_officer") == {"SELECT", "INSERT"}
    assert all(found <= {"SELECT"} for found in rights.values())


@pytest.mark.parametrize("table", ["api_key", "outbox", "relay_head"])
async def test_an_officer_sees_no_more_than_the_desk_needs(untouched: str, table: str) -> None:
    assert await granted(untouched, "consent_officer", table) == set()


@pytest.mark.parametrize("table", ["consumer", "ack", "publish_delay", "ack_delay"])
async def test_the_relay_keeps_what_consumers_report_and_an_operator_who_they_are(untouched: str, table: str) -> None:
    rights = {role: await granted(untouched, role, table) for role in ROLES}
    everything = {"SELECT", "INSERT", "UPDATE", "DELETE"}

    assert rights.pop("consent_relay") == ({"SELECT"} if table == "consumer" else everything)
    assert rights.pop("consent_operator") == ({"SELECT", "INSERT", "DELETE"} if table == "consumer" else {"SELECT"})
    assert set().union(*rights.values()) == set()


async def test_the_viewer_writes_what_is_to_be_told_and_the_relay_forgets_it(untouched: str) -> None:
    rights = {role: await granted(untouched, role, "told") for role in ROLES}

    assert rights.pop("consent_viewer") == rights.pop("consent_retention") == {"INSERT"}
    assert rights.pop("consent_eraser") == {"INSERT"}
    assert rights.pop("consent_relay") == {"SELECT", "DELETE"}
    assert rights.pop("consent_operator") == {"SELECT"}
    assert set().union(*rights.values()) == set()


async def entries(recorder: Connection) -> None:
    """Append a consent, an objection and a request, each with an index row and a personal part."""
    await claimed(recorder)
    types = ("consent-given", "objection-raised", "request-received")
    await append(recorder, batch(*(draft(place, type=kind) for place, kind in enumerate(types))))


@pytest.mark.parametrize(
    ("role", "table", "position", "error"),
    [
        ("consent_retention", "entry_subject", 0, None),
        ("consent_retention", "entry_subject", 1, "this row of entry_subject is kept"),
        ("consent_retention", "entry_subject", 2, "this row of entry_subject is kept"),
        ("consent_retention", "payload", 0, None),
        ("consent_retention", "payload", 1, "this row of payload is kept"),
        ("consent_retention", "payload", 2, None),
        ("consent_retention", "ledger", 0, "permission denied"),
        ("consent_retention", "event", 0, "permission denied"),
        (None, "entry_subject", 0, "entry_subject is append-only"),
        (None, "payload", 1, None),
    ],
)
async def test_retention_deletes_what_proves_a_consent_and_never_a_refusal(
    database: str, recorder: Connection, role: Role | None, table: str, position: int, error: str | None
) -> None:
    await entries(recorder)
    connection: Connection = await asyncpg.connect(database) if role is None else await connect(database, role)
    statement = CHANGES["delete"].format(table) + " WHERE pos = $1"
    try:
        if error is None:
            assert await connection.execute(statement, position) == "DELETE 1"
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=error):
                await connection.execute(statement, position)
    finally:
        connection.terminate()


@pytest.mark.parametrize(("table", "more"), [("entry_subject", set()), ("payload", {"consent-withdrawn"})])
async def test_whatever_restricts_is_refused_to_retention(
    database: str, recorder: Connection, table: str, more: set[str]
) -> None:
    await claimed(recorder)
    await append(recorder, batch(*(draft(place, type=kind) for place, kind in enumerate(KINDS))))
    connection = await connect(database, "consent_retention")
    gone = set()
    for place, kind in enumerate(KINDS):
        try:
            assert await connection.execute(f"DELETE FROM {table} WHERE pos = $1", place) == "DELETE 1"  # noqa: S608
            gone.add(kind)
        except asyncpg.InsufficientPrivilegeError:
            pass
    connection.terminate()

    assert gone > {"consent-given", "relationship-started", "contact-recorded", "identifiers-linked"}
    assert {kind for kind in gone if KINDS[kind] == "R"} == more


async def test_one_refusal_among_many_rows_keeps_them_all(database: str, recorder: Connection) -> None:
    await entries(recorder)
    connection = await connect(database, "consent_retention")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DELETE FROM entry_subject")

    assert await connection.fetchval("SELECT count(*) FROM entry_subject") == 3
    connection.terminate()


async def test_a_login_user_that_is_only_a_member_of_the_role_can_record_and_take_over(
    member: str, superuser: Connection
) -> None:
    stopped, successor = await connect(member, "consent_recorder"), await connect(member, "consent_recorder")
    await claimed(stopped)
    await superuser.execute("UPDATE consent.shard_head SET lease_until = '-infinity'")
    await stopped.execute("BEGIN; SELECT FROM shard_head FOR UPDATE")

    claim = await ledger.claim(successor, 1, "second", LEASE)

    assert claim is not None
    assert await append(successor, batch(draft(), epoch=claim.epoch))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await successor.execute("DELETE FROM ledger")
    stopped.terminate()
    successor.terminate()


@pytest.fixture
async def member(database: str, superuser: Connection) -> AsyncIterator[str]:
    """URL for a user who owns nothing and is a member of the recorder's role."""
    name = f"consent_{uuid.uuid4().hex[:12]}"
    await superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'; GRANT consent_recorder TO {name}")
    server = urlsplit(database)
    yield server._replace(netloc=f"{name}:{name}@{server.hostname}:{server.port}").geturl()
    await superuser.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", name)
    await superuser.execute(f"DROP ROLE {name}")
