"""The ledger read back: what stands in its tables is made facts again, and questions are answered from those alone."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from consent_ledger.domain import durations
from consent_ledger.domain import register as registers
from consent_ledger.domain.decision import CallRegisters, Decision, decide
from consent_ledger.domain.events import read_body
from consent_ledger.domain.facts import Fact, Token
from consent_ledger.domain.register import Register
from consent_ledger.domain.scenario import Snapshot, Snapshots
from consent_ledger.runtime.keys import decrypt
from consent_ledger.runtime.postgres import Connection, connect
from consent_ledger.store import keys, view
from consent_ledger.store.view import Entry
from consent_ledger.viewer.place import Placer
from running import Installation
from through.reader import hashed

SALT_BYTES: Final = 32
"""What stands before the personal fields of an entry, under their encryption."""


class _RolledBackError(Exception):
    """Nothing that was read here is to have been taken."""


class Replayed:
    """Everything an installation has recorded, by controller, and no word of dossiers or views."""

    def __init__(
        self, register: Register, facts: Mapping[str, Sequence[Fact]], lists: Mapping[str, CallRegisters]
    ) -> None:
        self._register = register
        self._facts = facts
        self._lists = lists

    def answer(
        self,
        controller: str,
        identifiers: Sequence[tuple[str, Token]],
        purpose: str,
        channel: str,
        *,
        at: datetime,
        as_of: datetime,
    ) -> Decision:
        """Decide from all entries connected to these identifiers."""
        facts = self._connected(controller, (token for _, token in identifiers))
        return decide(
            self._register, facts, controller=controller, identifiers=identifiers, purpose=purpose, channel=channel,
            at=at, as_of=as_of, dnc=self._lists.get(controller),
        )  # fmt: skip

    def _connected(self, controller: str, tokens: Iterable[Token]) -> list[Fact]:
        facts, nodes = self._facts.get(controller, ()), set(tokens)
        while True:
            connected = [one for one in facts if not nodes.isdisjoint(_nodes(one))]
            wider = nodes.union(*map(_nodes, connected))
            if wider == nodes:
                return connected
            nodes = wider


def _nodes(fact: Fact) -> set[bytes]:
    references = {one for one in (fact.event_id, fact.refers_to) if one is not None}
    return references.union(token for _, _, token, _ in fact.identifiers)


async def replay(home: Installation) -> Replayed:
    """Read all entries, and the register of the newest version."""
    facts: dict[str, dict[tuple[int, int], Fact]] = defaultdict(dict)
    register = registers.compile({}, 0)
    lists: dict[str, CallRegisters] = {}
    connection = await connect(home.settings.dsn, "consent_viewer")
    try:
        with suppress(_RolledBackError):
            async with connection.transaction():
                heads = {shard: place[1] for shard, place in (await view.recorded(connection)).items()}
                entries = await view.entries(connection, [(shard, 0, end) for shard, end in heads.items()])
                version = max((entry.register_version for entry in entries), default=0)
                register = await view.compiled(connection, version)
                service = await keys.service_keys(connection, home.keks)
                applied = [heads.get(shard, 0) for shard in range(max(heads) + 1)]
                placed = await Placer(home.keks, service["digest"]).place(connection, entries, applied)
                for arrival in placed.arrivals:
                    facts[arrival.controller][arrival.fact.place] = arrival.fact
                lists = await _lists(connection, home, entries)
                raise _RolledBackError
    finally:
        await connection.close()
    in_order = {name: [known[place] for place in sorted(known)] for name, known in facts.items()}
    return Replayed(register, in_order, lists)


async def _lists(connection: Connection, home: Installation, entries: Sequence[Entry]) -> dict[str, CallRegisters]:
    """Read the do-not-call registers, by controller, from the snapshots that the entries bring."""
    bringing = {entry.place: entry for entry in entries if entry.type == "preference-register-imported"}
    payloads = await view.payloads(connection, list(bringing))
    persons = await keys.keys_of_persons(
        connection, home.keks, {one for found in payloads.values() for _, one, _ in found}
    )
    hash_keys = await keys.controller_keys(connection, home.keks)
    found: dict[str, dict[str, list[Snapshot]]] = defaultdict(lambda: defaultdict(list))
    for place, ciphertexts in payloads.items():
        entry, body = bringing[place], read_body(bringing[place].body)
        for controller, person, ciphertext in ciphertexts:
            plain = decrypt(persons[person], ciphertext, keys.payload_context(entry.event_id, controller))
            numbers = {
                bytes.fromhex(hashed(hash_keys[controller].key, "phone", one["value"])): None
                for one in json.loads(plain[SALT_BYTES:])["numbers"]
            }
            recorded = durations.instant(entry.recorded_at)
            time = min(durations.instant(entry.occurred_at), recorded)
            found[controller][body["register"]].append(Snapshot(time, recorded, body["source"], numbers))
    return {name: {one: Snapshots(made) for one, made in known.items()} for name, known in found.items()}
