"""Who is on a list, and for what: everybody to whom the view says no at this moment, whatever the reason."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from consent_ledger.client.local import LocalView
from consent_ledger.connectors.files.lists import Address, Pair
from consent_ledger.domain.decision import ADDRESS_OF
from consent_ledger.domain.errors import ConsentError


class NotNowError(ConsentError):
    """The view cannot tell at the moment: no list is made of it."""


class Judgement(NamedTuple):
    """For what an address is refused, and when time alone may change that (microseconds since 1970)."""

    refused: set[Pair]
    due: int | None


class Judge:
    """`purposes` and `channels`: none named means all that the register has."""

    def __init__(
        self,
        view: LocalView,
        controllers: Sequence[str],
        purposes: Collection[str],
        channels: Collection[str],
        *,
        is_fresh: Callable[[], bool],
    ) -> None:
        self._view = view
        self._is_fresh = is_fresh
        self.controllers = controllers
        self._purposes = purposes
        self._channels = channels

    def unlisted(self) -> Mapping[str, Mapping[str, Mapping[str, bool]]]:
        """Return by controller, purpose and channel whether an address with nothing on record may be used."""
        with self._view.copy().reading() as reading:
            defaults = reading.defaults()
        missing = [one for one in self.controllers if one not in defaults]
        if missing:
            raise NotNowError("the topic does not know a controller")
        return {
            controller: {
                purpose: {
                    one: said.allow and said.needs_dnc is None
                    for one, said in channels.items()
                    if self._has_channel(one)
                }
                for purpose, channels in defaults[controller].decisions.items()
                if not self._purposes or purpose in self._purposes
            }
            for controller in self.controllers
        }

    def _has_channel(self, channel: str) -> bool:
        return not self._channels or channel in self._channels

    def judge(self, page: Sequence[Address]) -> dict[bytes, Judgement]:
        """Judge addresses by what the view says now. Raises `NotNowError`."""
        self.require_fresh()
        found = {one.hash: Judgement(set(), None) for one in page}
        unlisted = self.unlisted()
        for controller, type_ in sorted({(one.controller, one.type) for one in page}):
            hashes = [one.hash for one in page if (one.controller, one.type) == (controller, type_)]
            for purpose, channels in unlisted[controller].items():
                for channel in channels:
                    if ADDRESS_OF[channel] in (None, type_):
                        self._ask(found, controller, hashes, (purpose, channel), type_)
        self.require_fresh()
        return found

    def require_fresh(self) -> None:
        """Raise `NotNowError` while the view would say no to everybody."""
        if not self._is_fresh():
            raise NotNowError("the view is not complete and fresh")

    def _ask(
        self, found: dict[bytes, Judgement], controller: str, hashes: Sequence[bytes], pair: Pair, type_: str
    ) -> None:
        decisions = self._view.decide_hashes(controller, hashes, *pair, type=type_)
        for hash_, decision in zip(hashes, decisions, strict=True):
            if decision.reason == "WRONG_KEY":
                raise NotNowError("the key of a controller is not the one of the topic")
            refused, due = found[hash_]
            if not decision:
                refused.add(pair)
            # What may be answered otherwise without any event is asked again for the next file.
            end = decision.ends_at if decision.final else 0
            if end is not None:
                found[hash_] = Judgement(refused, end if due is None else min(due, end))
