"""What happens to an installation, at random moments chosen by a seed."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from random import Random, SystemRandom
from typing import TypeAlias

from chaos.arena import Installation, until

Fault: TypeAlias = Callable[[Installation, Random], Awaitable[None]]

SEED = int(os.environ.get("CONSENT_CHAOS_SEED", SystemRandom().randrange(2**32)))
ROUNDS = int(os.environ.get("CONSENT_CHAOS_ROUNDS", "8"))
_LONGEST_PAUSE_SECONDS = 0.6
_KILLED_AT_ONCE = 4
_OWNERS = {
    "recorder": "SELECT owner FROM consent.shard_head WHERE lease_until > clock_timestamp()",
    "viewer": "SELECT owner FROM consent.view_head WHERE lease_until > clock_timestamp()",
    "relay": "SELECT owner FROM consent.relay_head WHERE lease_until > clock_timestamp()",
    "sealer": "SELECT owner FROM consent.seal_head WHERE lease_until > clock_timestamp()",
}


async def strike(
    installation: Installation, random: Random, faults: Sequence[Fault], recovered: Callable[[], Awaitable[None]]
) -> None:
    """Let `ROUNDS` faults happen, each kind in turn and then any, and wait behind each until all works again."""
    for number in range(ROUNDS):
        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
        fault = faults[number] if number < len(faults) else random.choice(faults)
        sys.stdout.write(f"{fault.__name__}\n")
        await fault(installation, random)
        await recovered()


async def kill_some(installation: Installation, random: Random) -> None:
    processes = list(installation.processes.values())
    for process in random.sample(processes, random.randint(1, min(_KILLED_AT_ONCE, len(processes)))):
        await process.kill()
        process.start()


async def crash_postgres(installation: Installation, random: Random) -> None:
    if random.random() < 0.5:
        await asyncio.to_thread(installation.postgres.stop, immediate=True)
    else:
        await asyncio.to_thread(installation.postgres.kill)
    await asyncio.to_thread(installation.postgres.start)


async def cut_connections(installation: Installation, random: Random) -> None:
    for _ in range(random.randint(1, 10)):
        await installation.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'consent_%'"
        )
        await asyncio.sleep(random.uniform(0, 0.1))


async def stop_a_recorder(installation: Installation, random: Random) -> None:
    await _stop_an_owner("recorder", installation, random)


async def stop_a_viewer(installation: Installation, random: Random) -> None:
    await _stop_an_owner("viewer", installation, random)


async def stop_a_relay(installation: Installation, random: Random) -> None:
    await _stop_an_owner("relay", installation, random)


async def stop_a_sealer(installation: Installation, random: Random) -> None:
    await _stop_an_owner("sealer", installation, random)


async def _stop_an_owner(service: str, installation: Installation, random: Random) -> None:
    """Stop whoever owns something, until others have all that there is, and wake it."""

    async def owners() -> list[str]:
        return [row["owner"].partition("/")[0] for row in await installation.fetch(_OWNERS[service])]

    owned = await until(owners, f"some {service} owns something")
    owner = installation.processes[random.choice(owned)]
    await owner.stop()

    async def replaced() -> bool:
        now = await owners()
        return len(now) >= len(owned) and owner.name not in now

    await until(replaced, f"another {service} has taken over from a stopped one")
    owner.wake()
