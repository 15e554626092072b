"""A whole installation at work, those who look on, and what must agree once it is quiet."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random

from chaos.arena import PATIENCE_SECONDS, Installation, until
from chaos.gate import PURPOSES, Fact, Gate
from chaos.load import Publisher
from chaos.people import ADDRESSES, REGISTER, Speaker
from chaos.watch import Asker, Ledger, Topic, allowed
from consent_ledger.domain import checkpoint
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.runtime.local.ports import free_port
from consent_ledger.runtime.postgres import connect
from consent_ledger.sealer.outside import in_place, newest
from consent_ledger.store import api_keys, keys, origins
from consent_ledger.store import audit as stored
from consent_ledger.verifier.audit import audit
from consent_ledger.verifier.note import VerifierKey

_AT_ONCE = 100
_FOLD_MAX = 20
_SEAL_SECONDS = 0.1
_ORIGIN = "consent-ledger.local"


class World:
    """Everything runs, and is looked at."""

    def __init__(
        self,
        installation: Installation,
        publisher: Publisher,
        speaker: Speaker,
        gate: Gate,
        ledger: Ledger,
        asker: Asker,
        topic: Topic,
    ) -> None:
        self.installation = installation
        self.publisher = publisher
        self.speaker = speaker
        self.gate = gate
        self.ledger = ledger
        self.asker = asker
        self.topic = topic

    async def until_folded(self) -> None:
        """Wait until the view has all that Kafka holds now."""
        await self.publisher.until_recorded()
        heads = await self.installation.fetch("SELECT shard, next_pos FROM consent.shard_head ORDER BY shard")

        async def folded() -> bool:
            rows = await self.installation.fetch("SELECT applied FROM consent.view_head")
            applied = rows[0]["applied"]
            return len(applied) >= len(heads) and all(applied[head["shard"]] >= head["next_pos"] for head in heads)

        await until(folded, "everything recorded is in the view")

    async def ask_all(self) -> dict[tuple[str, str, str], bool]:
        """Ask over HTTP about every address, and wait while nobody answers."""
        answers: dict[tuple[str, str, str], bool] = {}
        for some in _batches(ADDRESSES):

            async def answered(some: list[str] = some) -> dict[tuple[str, str, str], bool] | None:
                return await self.asker.ask(some)

            answers |= await until(answered, "the API answers")
        return answers

    async def until_published(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until every partition's watermark states an instant after this call."""
        now = datetime.now(UTC)

        async def published() -> bool:
            instants = self.topic.instants
            return len(instants) == self.installation.partitions and min(instants.values()) > now

        await until(published, "every partition has a newer watermark", seconds)

    async def in_log(self) -> list[str]:
        """Wait until every entry is in the log and shown, and return what a verifier finds wrong."""
        place = self.installation.directory / "log"

        async def shown() -> bool:
            rows = await self.installation.fetch("SELECT sum(next_pos)::bigint AS entries FROM consent.shard_head")
            notes = await asyncio.to_thread(in_place, str(place), 1)
            return bool(notes) and checkpoint.read(notes[0]).size == rows[0]["entries"]

        await until(shown, "everything recorded is in the log")
        connection = await connect(self.installation.database, "consent_operator")
        try:
            key = await origins.signing(connection, KeyFile(self.installation.directory / "keys.json"), _ORIGIN)
        finally:
            await connection.close()
        kafka = {"bootstrap_servers": self.installation.kafka}
        notes = in_place(str(place), 1) + await newest(
            kafka, f"{self.installation.prefix}checkpoints", _ORIGIN.encode()
        )
        async with stored.reading(self.installation.database) as source:
            report = await audit(source, VerifierKey.parse(key.public), notes)
        return [f"in the log: {report.finding}"] if report.finding else []


@asynccontextmanager
async def world(
    installation: Installation, random: Random, *, of_each: int = 2, mutant: str | None = None
) -> AsyncIterator[World]:
    """Start so many of each service and one API, load the register, and look on for as long as the block lasts.

    `mutant` leaves a rule out of the API.
    """
    for service in ("recorder", "viewer", "relay", "sealer"):
        for number in range(of_each):
            # Small folds, so that there are moments at which a part of what is recorded is in the view.
            installation.start(
                f"{service}-{number}", service=service, fold_max=_FOLD_MAX, seal_seconds=_SEAL_SECONDS,
                log_directory=installation.directory / "log",
            )  # fmt: skip
    port = free_port()
    installation.start("api", service="api", mutant=mutant, api_port=port)
    async with Publisher.open(installation) as publisher, installation.supervised():
        await publisher.load_register(REGISTER)
        await publisher.until_recorded()
        gate = Gate()
        ledger = Ledger(installation, gate)
        asker = Asker(f"http://127.0.0.1:{port}", await _api_key(installation), gate, ledger, random)
        topic = Topic(installation, gate, await _topic_keys(installation))
        looking = [asyncio.create_task(one.run()) for one in (ledger, asker, topic)]
        try:
            speaker = Speaker(publisher, gate, random, installation.partitions)
            yield World(installation, publisher, speaker, gate, ledger, asker, topic)
        finally:
            for task in looking:
                task.cancel()
            outcomes = await asyncio.gather(*looking, return_exceptions=True)
            await asker.close()
            if failed := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
                raise ExceptionGroup("somebody could not look on to the end", failed)


async def _api_key(installation: Installation) -> str:
    connection = await connect(installation.database, "consent_operator")
    try:
        return await api_keys.create(connection, scopes=["decide"], sources=[], controllers=["*"])
    finally:
        await connection.close()


async def _topic_keys(installation: Installation) -> dict[str, tuple[str, str]]:
    """Return controller and address by the key that the contract with readers says (type, |, normalised value)."""
    connection = await connect(installation.database, "consent_operator")
    try:
        secrets = await keys.controller_keys(connection, KeyFile(installation.directory / "keys.json"))
    finally:
        await connection.close()
    return {
        f"{controller}/email/{hmac.digest(secrets[controller].key, f'email|{address}'.encode(), 'sha256').hex()}": (
            controller,
            address,
        )
        for controller in PURPOSES
        for address in ADDRESSES
    }


async def disagreements(world: World) -> list[str]:
    """Wait until everything is quiet, and compare what each of the four says of every address."""
    await world.until_folded()
    await world.until_published()
    await world.ledger.look()
    found = await world.in_log()
    rows = await world.installation.fetch("SELECT controller, type, hash, seq, decisions FROM consent.view")
    view = {
        f"{row['controller']}/{row['type']}/{row['hash'].hex()}": (row["seq"], json.loads(row["decisions"]))
        for row in rows
        if row["type"] == "email"
    }
    topic = {key: record for key, record in world.topic.last.items() if not key.startswith("!")}
    found += [f"on the topic and not in the view: {key}" for key in topic.keys() - view.keys()]
    found += [f"in the view and not on the topic: {key}" for key in view.keys() - topic.keys()]
    found += [
        f"version {topic[key]['version']} on the topic, {seq} in the view"
        for key, (seq, _) in view.items()
        if key in topic and topic[key]["version"] != seq
    ]
    answers = await world.ask_all()
    for key, (controller, address) in world.topic.keys.items():
        rule = {
            purpose
            for purpose in PURPOSES[controller]
            if world.gate.allows(controller, purpose, address, refusals=is_recorded, consents=is_recorded)
        }
        said = {
            "view": allowed(view[key][1]) if key in view else set(),
            "topic": allowed(topic[key]) if key in topic else set(),
            "HTTP": {purpose for purpose in PURPOSES[controller] if answers[controller, purpose, address]},
        }
        found += [
            f"{who} allows {what} at {controller}, the rules {rule}" for who, what in said.items() if what != rule
        ]
    return found


def _batches(addresses: list[str]) -> Iterator[list[str]]:
    return (addresses[start : start + _AT_ONCE] for start in range(0, len(addresses), _AT_ONCE))


def is_recorded(fact: Fact) -> bool:
    return fact.seen is not None
