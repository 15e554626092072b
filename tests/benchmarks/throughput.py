"""How long a contestant takes for events that lie in Kafka already, and what its processes use for it."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec

from benchmarks.contestants import Contestant
from benchmarks.meter import Meter, Usage
from benchmarks.stage import Gate, RunError, Stage, until
from benchmarks.traffic import Backlog
from consent_ledger.runtime.supervise import Supervisor

_LOOK_SECONDS: Final = 0.1
_SLOWEST_PER_SECOND: Final = 200


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the opening of the gate until the last event was on the topic.

    `steps`: after how many seconds all events had got through each step.
    """

    events: int
    seconds: float
    steps: Mapping[str, float]
    usages: Mapping[str, Usage]

    @property
    def per_second(self) -> float:
        """Events a second, from Kafka to the topic."""
        return self.events / self.seconds


async def measure_throughput(
    stage: Stage, contestant: Contestant, gate: Gate, services: Supervisor, backlog: Backlog
) -> Throughput:
    """Open the gate and wait for the last event. Half-way, the database makes a checkpoint."""
    await until(contestant.ready, f"{contestant.name} is ready")
    await gate.reached()
    pids = {name: pid for name in contestant.modules if (pid := services.pid(name))}
    servers = {"Kafka": stage.servers.kafka.pid, "PostgreSQL": stage.servers.postgres.pid}
    events = backlog.events
    pids.update({name: pid for name, pid in servers.items() if pid})
    async with Meter.measuring(pids, await _back_ends(stage)) as meter:
        began, began_at = time.perf_counter(), datetime.now(UTC)
        await gate.open()
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(60 + events / _SLOWEST_PER_SECOND):
            steps: dict[str, float] = {}
            checkpointed = False
            while (finished_at := await _look(contestant, steps, backlog, began)) is None:
                if not checkpointed and min((await contestant.recorded()).values()) >= events / 2:
                    checkpointed = True
                    tasks.create_task(_checkpoint(stage))
                if any(services.restarts.values()):
                    raise RunError(f"a process of the {contestant.name} died")
                await asyncio.sleep(_LOOK_SECONDS)
        usages = meter.usages()
    seconds = (finished_at - began_at).total_seconds()
    return Throughput(events=events, seconds=seconds, steps=steps, usages=usages)


async def _look(contestant: Contestant, steps: dict[str, float], backlog: Backlog, began: float) -> datetime | None:
    done = await contestant.recorded()
    for step, count in done.items():
        if count >= backlog.events:
            steps.setdefault(step, time.perf_counter() - began)
    if min(done.values()) < backlog.events:
        return None
    return await contestant.finished_at(backlog)


async def _checkpoint(stage: Stage) -> None:
    connection = await asyncpg.connect(stage.settings.dsn)
    try:
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _back_ends(stage: Stage) -> dict[int, str]:
    """Name the server's processes by whom they serve, or what they do for all."""
    named = "SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name FROM pg_stat_activity"
    return {row["pid"]: f"- {row['name']}" for row in await stage.superuser.fetch(named)}
