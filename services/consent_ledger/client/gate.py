"""The gate: what a mail tool asks right before each send, and again while a long sending runs (domain.md 7.3)."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from consent_ledger.client.local import Decision, LocalView, address_type

_CHUNK: Final = 1_000


class Allowed(NamedTuple):
    """Whom a sending may go to, by keyed hash, with the instant at which that ends by time; and who is refused, why.

    `position` is where `recheck` goes on from.
    """

    by_hash: dict[bytes, tuple[str, datetime | None]]
    refused: dict[str, Decision]
    position: str

    @property
    def addresses(self) -> list[str]:
        """The addresses that may be used."""
        return [address for address, _ in self.by_hash.values()]


class Gate:
    """One purpose of one controller over one channel: `gate.check(address)` right before a send.

        gate = Gate(view, "dekra-be", "newsletter-email", "email")
        allowed = gate.filter(everybody)
        for address in allowed.addresses:
            if gate.check(address):
                send(address)

    `type` of the addresses follows from the channel, but for internal and media.
    """

    def __init__(
        self, view: LocalView, controller: str, purpose: str, channel: str, *, type: str | None = None
    ) -> None:
        self._view = view
        self._controller = controller
        self._purpose = purpose
        self._channel = channel
        self._type = address_type(channel, type)

    def check(self, address: str) -> Decision:
        """Decide on one address, now. Takes microseconds; ask at the moment of sending, not before."""
        return self._view.decide(self._controller, address, self._purpose, self._channel, type=self._type)

    def filter(self, addresses: Iterable[str]) -> Allowed:
        """Part addresses into those that may be used and those that may not; one named twice counts once."""
        # First the position: what changes while this runs is looked at again and never overlooked.
        found = Allowed({}, {}, self._view.changed_since().position)
        for some in _chunks(addresses):
            hashes = [self._view.hash_of(self._controller, address, self._type) for address in some]
            self._sort(found, some, hashes)
        return found

    def recheck(self, allowed: Allowed) -> Allowed:
        """Decide again on those whose record has changed since, and on those whose answer has ended by time.

        A running sending calls this at least every five minutes (domain.md 7.3), unless it checks each address when it
        sends.
        """
        changes = self._view.changed_since(allowed.position)
        now = datetime.now(UTC)
        concerned = [
            (hash_, address) for hash_, (address, until) in allowed.by_hash.items()
            if changes.touch(hash_) or (until is not None and until <= now)
        ]  # fmt: skip
        found = Allowed(dict(allowed.by_hash), {}, changes.position)
        for hash_, _ in concerned:
            del found.by_hash[hash_]
        self._sort(found, [address for _, address in concerned], [hash_ for hash_, _ in concerned])
        return found

    def _sort(self, found: Allowed, addresses: Sequence[str], hashes: Sequence[bytes | None]) -> None:
        decisions = self._view.decide_hashes(self._controller, hashes, self._purpose, self._channel, type=self._type)
        for address, hash_, decision in zip(addresses, hashes, decisions, strict=True):
            if decision and hash_ is not None:
                found.by_hash[hash_] = (address, decision.valid_until)
            else:
                found.refused[address] = decision


def _chunks(addresses: Iterable[str]) -> Iterator[list[str]]:
    some: list[str] = []
    for address in addresses:
        some.append(address)
        if len(some) == _CHUNK:
            yield some
            some = []
    if some:
        yield some
