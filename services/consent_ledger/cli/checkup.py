"""Looks at a whole installation and says what is wrong with it."""

from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from consent_ledger.cli.checkup_log import look_at_log
from consent_ledger.cli.topics import difference_data
from consent_ledger.domain import durations
from consent_ledger.domain import register as registers
from consent_ledger.domain.durations import moment
from consent_ledger.runtime import topics
from consent_ledger.runtime.keys import KeyFile, KeyUnavailableError
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import MissingSettingError, Settings
from consent_ledger.runtime.shards import partition_of_shard
from consent_ledger.store import dnc, doctor, keys, ledger, rebuild

# Counting whole tables takes longer than a service may take for a statement.
_COUNT_TIMEOUT: Final = "600s"
_DAYS_FROM_HOURS: Final = 48
_KEY_WARNING: Final = (
    "keep a copy of the key file apart from the database: losing it loses every address, hash and proof"
)


class Checkup(msgspec.Struct, kw_only=True):
    """What was found. `problems` need a person; `warnings` are to be known. `reachable` False: the rest is missing."""

    ok: bool = True
    reachable: bool = True
    problems: list[str] = msgspec.field(default_factory=list)
    warnings: list[str] = msgspec.field(default_factory=list)
    settings: list[dict[str, Any]] = msgspec.field(default_factory=list)
    kafka: dict[str, Any] = msgspec.field(default_factory=dict)
    database: dict[str, Any] = msgspec.field(default_factory=dict)
    topics: list[dict[str, Any]] = msgspec.field(default_factory=list)
    shards: list[dict[str, Any]] = msgspec.field(default_factory=list)
    total: dict[str, int] = msgspec.field(default_factory=dict)
    view: dict[str, Any] = msgspec.field(default_factory=dict)
    relay: list[dict[str, Any]] = msgspec.field(default_factory=list)
    log: dict[str, Any] = msgspec.field(default_factory=dict)
    dnc: list[dict[str, Any]] = msgspec.field(default_factory=list)
    rebuild: dict[str, Any] | None = None
    quarantine: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def problem(self, text: str) -> None:
        """Note something that is wrong."""
        self.ok = False
        self.problems.append(text)


async def check_up(settings: Settings) -> Checkup:
    """Look at everything that can be reached."""
    checkup = Checkup(settings=describe(settings))
    if lying := sum(1 for _ in settings.inbound_aside.glob("*.eml")):
        checkup.warnings.append(f"{lying} mails that were not understood lie in {settings.inbound_aside}")
    ends = await _look_at_kafka(checkup, settings)
    try:
        connection = await connect(settings.dsn, "consent_operator", statement_timeout=_COUNT_TIMEOUT)
    except (asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError):
        checkup.database = {"reachable": True, "migrated": False}
        checkup.problem("the database has no ledger: run `consent migrate`")
        return checkup
    except (MissingSettingError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        _away(checkup, checkup.database, f"the database does not answer: {_why(error)}; look at CONSENT_DATABASE_URL")
        return checkup
    try:
        await _look_at_database(checkup, settings, connection, ends)
    finally:
        await connection.close()
    return checkup


def describe(settings: Settings) -> list[dict[str, Any]]:
    """List every setting with what it means; secrets are masked."""
    described = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        shown = "********" if isinstance(value, SecretStr) else None if value is None else str(value)
        described.append(
            {
                "name": f"CONSENT_{name.upper()}",
                "value": shown,
                "set": name in settings.model_fields_set and value is not None,
                "description": field.description or "",
            }
        )
    return described


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, MissingSettingError) else type(error).__name__


def _away(checkup: Checkup, server: dict[str, Any], problem: str) -> None:
    server["reachable"] = checkup.reachable = False
    checkup.problem(problem)


async def _look_at_kafka(checkup: Checkup, settings: Settings) -> dict[int, int]:
    """Look at the topics, and return the end of each shard's partition."""
    try:
        differences = await topics.check(settings.kafka(), prefix=settings.topic_prefix, partitions=settings.partitions)
        missing = {one.topic for one in differences if one.setting == "partitions" and one.found is None}
        ends = {} if missing else await _ends(settings)
    except (MissingSettingError, KafkaError, OSError, TimeoutError) as error:
        _away(checkup, checkup.kafka, f"Kafka does not answer: {_why(error)}; look at {settings.kafka_settings}")
        return {}
    checkup.kafka = {"reachable": True, "bootstrap_servers": settings.kafka_bootstrap_servers}
    checkup.topics = [difference_data(difference) for difference in differences]
    for difference in differences:
        note = checkup.problem if difference.vital else checkup.warnings.append
        note(f"topic {difference}: `consent topics apply` mends it")
    return ends


async def _ends(settings: Settings) -> dict[int, int]:
    shards = {partition_of_shard(settings.topic_prefix, shard): shard for shard in range(settings.partitions + 1)}
    consumer = AIOKafkaConsumer(**settings.kafka(), isolation_level="read_committed", enable_auto_commit=False)
    try:
        await consumer.start()
        return {shards[at]: end for at, end in (await consumer.end_offsets(list(shards))).items()}
    finally:
        await consumer.stop()


async def _look_at_database(checkup: Checkup, settings: Settings, connection: Connection, ends: dict[int, int]) -> None:
    server = await doctor.server(connection)
    checkup.database = {"reachable": True, **server._asdict()}
    if not server.migrated:
        checkup.problem("the database has no ledger: run `consent migrate`")
        return
    await _look_at_keys(checkup, settings, connection)
    _judge_shards(checkup, settings, await doctor.shards(connection), ends)
    _judge_view(checkup, settings, await doctor.view_state(connection))
    _judge_relay(checkup, settings, await doctor.relay_states(connection))
    await _look_at_log(checkup, settings, connection)
    await _look_at_call_registers(checkup, connection)
    await _look_at_rebuilds(checkup, connection)
    counts = await doctor.quarantine_counts(connection)
    checkup.quarantine = [count._asdict() for count in counts]
    for count in counts:
        if count.oldest is not None:
            checkup.warnings.append(
                f"quarantine: {count.unresolved:,} of {count.reason} are open, the oldest for {_age(count.oldest)}; "
                "`consent quarantine list --open` shows them"
            )


def _age(seconds: float) -> str:
    hours = int(seconds // 3600)
    return f"{hours // 24} days" if hours >= _DAYS_FROM_HOURS else f"{hours} h {int(seconds % 3600 // 60)} min"


async def _look_at_keys(checkup: Checkup, settings: Settings, connection: Connection) -> None:
    checkup.warnings.append(f"{_KEY_WARNING} ({settings.key_file})")
    try:
        keks = KeyFile(settings.key_file)
        await keys.service_keys(connection, keks)
        await keys.controller_keys(connection, keks)
    except KeyUnavailableError as error:
        checkup.problem(f"keys: {error}")


def _judge_shards(checkup: Checkup, settings: Settings, shards: list[doctor.ShardSums], ends: dict[int, int]) -> None:
    for shard in shards:
        unread = max(0, ends[shard.shard] - shard.next_offset) if shard.shard in ends else None
        checkup.shards.append({**shard._asdict(), "accounted": shard.accounted, "unread": unread})
        if not shard.accounted:
            checkup.problem(f"shard {shard.shard}: its offsets do not add up to what is in the ledger")
        if shard.lease_seconds < 0:
            checkup.problem(f"shard {shard.shard}: no recorder owns it, so nothing of {shard.topic} is recorded")
    if missing := set(range(settings.partitions + 1)) - {shard.shard for shard in shards}:
        checkup.problem(f"shards {sorted(missing)} have never been owned by a recorder")
    names = ("entries", "duplicates", "rejected", "holes")
    checkup.total = {name: sum(getattr(shard, name) for shard in shards) for name in names}
    checkup.total["offsets"] = sum(shard.next_offset - shard.start_offset for shard in shards)


def _judge_view(checkup: Checkup, settings: Settings, view: doctor.ViewState) -> None:
    checkup.view = view._asdict()
    if view.lease_seconds < 0:
        checkup.problem("no viewer owns the view, so nothing new reaches decisions")
    if view.horizon_age is None:
        checkup.problem("the view has never been level with Kafka: every answer is no")
    elif view.horizon_age > settings.max_staleness:
        checkup.problem(f"the view is {view.horizon_age:.0f} s behind Kafka: every answer is no")
    if view.waiting_oldest is not None:
        checkup.warnings.append(
            f"{view.waiting_long:,} entries refer to an event that nobody has published, the oldest for "
            f"{_age(view.waiting_oldest)}; `consent history --event {view.waiting_first}` tells which"
        )
    if view.register_version == 0:
        checkup.warnings.append("no register is loaded: every answer is no (`consent register load FILE`)")
    if view.sweeping:
        checkup.warnings.append("decisions are being made again after a register load")


def _judge_relay(checkup: Checkup, settings: Settings, relays: list[doctor.RelayState]) -> None:
    checkup.relay = [relay._asdict() for relay in relays]
    owned = {relay.partition for relay in relays if relay.lease_seconds >= 0}
    if missing := set(range(settings.partitions)) - owned:
        checkup.problem(f"no relay owns partitions {sorted(missing)} of the suppressions topic")


async def _look_at_rebuilds(checkup: Checkup, connection: Connection) -> None:
    """Look at the newest evidence that the view is what the ledger says."""
    last = await rebuild.last_run(connection)
    if last is not None:
        names = ("drill", "addresses", "differences", "written", "digest")
        checkup.rebuild = {"recorded_at": last.recorded_at, **{name: last.said[name] for name in names}}
        if last.said["differences"] and not last.said["written"]:
            checkup.problem("the last rebuild found that the view is not what the ledger says: `consent rebuild`")
    if await rebuild.left_over(connection):
        checkup.warnings.append("a rebuild is under way, or was cut off: then the viewer clears it away")


async def _look_at_log(checkup: Checkup, settings: Settings, connection: Connection) -> None:
    found = await look_at_log(settings, connection)
    checkup.log = found.shown
    checkup.warnings += found.warnings
    for problem in found.problems:
        checkup.problem(problem)


async def _look_at_call_registers(checkup: Checkup, connection: Connection) -> None:
    """Look at every do-not-call register that a purpose asks: how old its snapshot is, and for whom it holds."""
    version, document = await ledger.read_register(connection)
    register = registers.compile(document, version)
    newest, steps, now = await dnc.newest(connection), await dnc.steps(connection), datetime.now(UTC)
    for name, max_age in register.call_registers.items():
        callers, snapshot = register.callers(name), newest.get(name)
        if not callers:
            continue
        if snapshot is None:
            checkup.dnc.append({"register": name, "snapshot_at": None})
            checkup.warnings.append(f"{name} was never imported, so nobody is called: `consent import dnc`")
            continue
        stale_at = moment(durations.after(durations.instant(snapshot.snapshot_at), max_age))
        without = [one for one in callers if (name, one) not in steps or steps[name, one][-1].snapshot != snapshot.id]
        checkup.dnc.append(
            {
                "register": name, "snapshot_at": snapshot.snapshot_at, "numbers": snapshot.numbers,
                "digest": snapshot.digest, "stale_at": stale_at, "stale_in_seconds": (stale_at - now).total_seconds(),
                "not_for": without,
            }
        )  # fmt: skip
        if stale_at <= now:
            checkup.warnings.append(f"{name} is stale since {stale_at:%Y-%m-%d %H:%M} UTC, so nobody is called")
        if without:
            checkup.warnings.append(f"{name} has to be imported again before {', '.join(without)} may call")
