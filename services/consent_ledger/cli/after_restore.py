"""What is to be done after the database was restored to an earlier instant, step by step, in the order of doing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple

import asyncpg
from aiokafka.errors import KafkaError

from consent_ledger.recorder.inspect import Inspector, TopicLostError
from consent_ledger.relay.reconcile import BehindError
from consent_ledger.relay.restored import Comparison, compare, highest_version
from consent_ledger.runtime.keys import KeyFile, KeyUnavailableError
from consent_ledger.runtime.objects import ObjectsError
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.shards import partition_of_shard
from consent_ledger.sealer.outside import contradiction, published
from consent_ledger.store import doctor, keys, log, origins, reconcile

_PATIENCE_SECONDS: Final = 5.0
_SHOWN: Final = 20


class Step(NamedTuple):
    """One step. `do`: the command that is due; `look`: a person must decide; `wait`: an earlier step comes first."""

    name: str
    state: Literal["done", "do", "look", "wait"]
    text: str
    command: str | None = None


Look = Callable[[Settings, Connection], Awaitable[Step]]


async def steps(settings: Settings) -> list[Step]:
    """Look at everything and return all steps. Raises what `connect` raises where the database is away."""
    connection = await connect(settings.dsn, "consent_operator")
    found: list[Step] = []
    try:
        looks: tuple[Look, ...] = (_keys, _log, _versions, _kafka, _view)
        for look in looks:
            step = await look(settings, connection)
            found.append(step)
    except (KafkaError, ObjectsError, TimeoutError, asyncpg.PostgresError) as error:
        found.append(Step("reach", "look", f"something cannot be reached: {type(error).__name__}", "consent doctor"))
        return found
    finally:
        await connection.close()
    earlier = [step.name for step in found if step.name in {"versions", "kafka", "view"} and step.state != "done"]
    if earlier:
        return [
            *found,
            Step("topics", "wait", f"first: {', '.join(earlier)}"),
            Step("erasures", "wait", "first: topics"),
        ]
    return found + await _topics(settings)


async def _keys(settings: Settings, connection: Connection) -> Step:
    try:
        await keys.service_keys(connection, await asyncio.to_thread(KeyFile, settings.key_file))
        await keys.controller_keys(connection, KeyFile(settings.key_file))
    except KeyUnavailableError as error:
        return Step("keys", "look", f"{error}: put back the copy of the key file that was kept apart")
    return Step("keys", "done", "the key file opens the keys of the restored database")


async def _log(settings: Settings, connection: Connection) -> Step:
    key, last = (
        await origins.signing(connection, KeyFile(settings.key_file), settings.log_origin),
        await log.last(connection),
    )
    for note in await published(settings, key.origin, key.number):
        if (why := await contradiction(connection, key, note, last)) is not None:
            return Step("log", "do", why, "consent log new-origin --reason 'restored to …'")
    return Step("log", "done", f"{key.origin} agrees with what is published of it")


async def _versions(settings: Settings, connection: Connection) -> Step:
    there, ours = await highest_version(settings), await reconcile.head(connection)
    if there > ours:
        text = f"the topic has versions up to {there}, the view up to {ours}: readers would not see what is refused now"
        return Step("versions", "do", f"{text}. Before any service starts", "consent reconcile --after-restore")
    return Step("versions", "done", f"no version of the topic is higher than the view's {ours}")


async def _kafka(settings: Settings, connection: Connection) -> Step:
    """Compare what the ledger has read of every shard with what Kafka holds."""
    inspector, unread, lost = Inspector(settings.kafka()), 0, []
    try:
        for shard, claim in (await doctor.places(connection)).items():
            partition = partition_of_shard(settings.topic_prefix, shard)
            try:
                await inspector.verify(partition, claim)
            except TopicLostError as error:
                lost.append(f"shard {shard}: {error}")
            else:
                unread += max(0, await inspector.end(partition) - claim.next_offset)
    finally:
        await inspector.stop()
    if lost:
        return Step("kafka", "look", "; ".join(lost))
    if unread:
        return Step(
            "kafka", "do", f"{unread} offsets of Kafka are not in the ledger: they are read again", "start the services"
        )
    return Step("kafka", "done", "everything that Kafka holds is in the ledger")


async def _view(settings: Settings, connection: Connection) -> Step:
    shards, view = await doctor.shards(connection), await doctor.view_state(connection)
    unfolded = sum(shard.unfolded for shard in shards)
    if unfolded or view.horizon_age is None or view.horizon_age > settings.max_staleness:
        return Step(
            "view", "do", f"{unfolded} entries are not in the view, which is not level with Kafka", "start the services"
        )
    return Step("view", "done", "the view has every entry, and is level with Kafka")


async def _topics(settings: Settings) -> list[Step]:
    try:
        found = await compare(settings, KeyFile(settings.key_file), patience_seconds=_PATIENCE_SECONDS, lift=False)
    except BehindError as error:
        return [Step("topics", "do", f"the relay has not published everything: {error}", "start the services"),
                Step("erasures", "wait", "first: topics")]  # fmt: skip
    return [_of_topics(found), _of_erasures(found)]


def _of_topics(found: Comparison) -> Step:
    if found.withheld:
        text = f"the topic refuses what the view allows, as its entries were lost, at {_some(found.withheld)}"
        return Step("topics", "look", f"{text}: record the refusals anew")
    if found.lifted:
        text = f"{found.lifted} records are not those of the view"
        return Step("topics", "do", text, "consent reconcile --after-restore")
    if found.unexpected:
        return Step("topics", "look", f"records of addresses that the ledger has lost: {_some(found.unexpected)}")
    return Step("topics", "done", "every record is that of the view")


def _of_erasures(found: Comparison) -> Step:
    if found.erased:
        text = f"the topic says ERASED, and the ledger does not, of {_some(found.erased)}"
        return Step("erasures", "look", f"{text}: execute these erasures again")
    return Step("erasures", "done", "whoever was erased by what is published is erased in the ledger")


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(sorted(keys)[:_SHOWN]) + more
