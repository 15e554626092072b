"""The ledger read back: what stands in its tables is made facts again, and questions are answered from those alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from consent_ledger.domain import register as registers
from consent_ledger.domain.decision import CallRegisters, Decision, decide
from consent_ledger.domain.facts import Fact, Token
from consent_ledger.domain.register import Register
from consent_ledger.runtime.postgres import connect
from consent_ledger.store import keys, view
from consent_ledger.viewer.place import Placer
from running import Installation


class _RolledBackError(Exception):
    """Nothing that was read here is to have been taken."""


class Replayed:
    """Everything an installation has recorded, by controller, and no word of dossiers or views."""

    def __init__(self, register: Register, facts: Mapping[str, Sequence[Fact]]) -> None:
        self._register = register
        self._facts = facts

    def answer(
        self,
        controller: str,
        identifiers: Sequence[tuple[str, Token]],
        purpose: str,
        channel: str,
        *,
        at: datetime,
        as_of: datetime,
        dnc: CallRegisters | None = None,
    ) -> Decision:
        """Decide from all entries connected to these identifiers."""
        facts = self._connected(controller, (token for _, token in identifiers))
        return decide(
            self._register, facts, controller=controller, identifiers=identifiers, purpose=purpose, channel=channel,
            at=at, as_of=as_of, dnc=dnc,
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
    connection = await connect(home.settings.dsn, "consent_viewer")
    try:
        with suppress(_RolledBackError):
            async with connection.transaction():
                heads = await view.heads(connection)
                entries = await view.entries(connection, [(shard, 0, end) for shard, end in heads.items()])
                version = max((entry.register_version for entry in entries), default=0)
                register = registers.compile(await view.register(connection, version), version)
                service = await keys.service_keys(connection, home.keks)
                applied = [heads.get(shard, 0) for shard in range(max(heads) + 1)]
                placed = await Placer(home.keks, service["digest"]).place(connection, entries, applied)
                for arrival in placed.arrivals:
                    facts[arrival.controller][arrival.fact.place] = arrival.fact
                raise _RolledBackError
    finally:
        await connection.close()
    return Replayed(register, {name: [known[place] for place in sorted(known)] for name, known in facts.items()})
