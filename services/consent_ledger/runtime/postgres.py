"""Connections to Postgres, each in the role of the service that opens it."""

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import asyncpg

Role: TypeAlias = Literal[
    "consent_recorder",
    "consent_viewer",
    "consent_relay",
    "consent_api",
    "consent_operator",
    "consent_officer",
    "consent_retention",
    "consent_sealer",
    "consent_auditor",
    "consent_replayer",
    "consent_eraser",
    "consent_keeper",
]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# The service names its schema and its rights itself, so one URL of a user that is a member of the roles is enough.
_LIMITS = {
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "8s",
    # Compiling a statement costs more than any statement here.
    "jit": "off",
}

# Services read everything by key. Their tables grow and shrink faster than statistics follow, and on a wrong guess the
# planner reads a whole table for a few rows. An operator's questions are about whole tables.
_BY_INDEX = dict.fromkeys(
    ("enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "enable_seqscan", "enable_sort"), "off"
)

# What these say, they say all day long. For a handful of rows the planner finds a plan made for just them a little
# cheaper, and so makes a new one each time, which costs as much as to carry it out.
_PLANNED_ONCE = frozenset({"consent_recorder", "consent_viewer", "consent_relay"})

# Longer than any statement may take: only a host that went away without a word is given up by this.
_SILENCE_SECONDS = 30.0

_PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


async def connect(dsn: str, role: Role, **settings: str) -> Connection:
    """Open one connection that holds `role`'s rights and no others."""
    connection: Connection = await asyncpg.connect(
        dsn, server_settings=_server_settings(role, settings), timeout=10, command_timeout=_SILENCE_SECONDS
    )
    await _teach(connection)
    return connection


async def create_pool(dsn: str, role: Role, *, size: int) -> Pool:
    """Open a pool of at most `size` connections that hold `role`'s rights and no others."""
    pool: Pool = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        init=_teach,
        server_settings=_server_settings(role, {}),
        timeout=10,
        command_timeout=_SILENCE_SECONDS,
    )
    return pool


def _server_settings(role: Role, settings: dict[str, str]) -> dict[str, str]:
    return {
        "role": role,
        "search_path": "consent",
        "application_name": role,
        "timezone": "UTC",
        **_LIMITS,
        **({} if role == "consent_operator" else _BY_INDEX),
        **({"plan_cache_mode": "force_generic_plan"} if role in _PLANNED_ONCE else {}),
        **settings,
    }


async def _teach(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    # By itself asyncpg makes the first and the last instant that Python knows into infinities, which come back without
    # a zone and compare with nothing; publishers do send the first one.
    await connection.set_type_codec(
        "timestamptz", encoder=_micros, decoder=_instant, schema="pg_catalog", format="tuple"
    )


# The rows of one append or one fold share their instants.
@lru_cache(maxsize=256)
def _micros(instant: datetime) -> tuple[int]:
    since = instant - _PG_EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds,)


@lru_cache(maxsize=256)
def _instant(micros: tuple[int]) -> datetime:
    try:
        return _PG_EPOCH + timedelta(microseconds=micros[0])
    except OverflowError:
        return _FIRST if micros[0] < 0 else _LAST
