"""What is remembered of a request about a campaign: who was asked about, and what was answered."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from consent_ledger.api.answers import Asked, Item, Pair, Several
from consent_ledger.domain.durations import moment
from consent_ledger.store.campaigns import Answer


def rows(asked: Sequence[Asked], answered: Sequence[Item | Several]) -> list[Answer]:
    """Bring questions and answers together, one row for every address and answer."""
    pairs = enumerate(zip(asked, answered, strict=True))
    return [row for number, (one, item) in pairs for row in _rows(number, one, item)]


def _rows(number: int, asked: Asked, item: Item | Several) -> Iterator[Answer]:
    at = None if asked.at is None else moment(asked.at)
    for pair, answer in _answers(asked, item):
        for type_, hash_ in _addresses(asked):
            yield _row(number, asked.controller, type_, hash_, pair, at, answer)


def _answers(asked: Asked, item: Item | Several) -> Iterator[tuple[Pair, Item]]:
    if isinstance(item, Several):
        yield from (((named.purpose, named.channel), named) for named in item.decisions)
    else:
        yield asked.pairs[0], item


def _addresses(asked: Asked) -> Sequence[tuple[str | None, bytes | None]]:
    """Give what may be kept; what stands under no key, or is no address, leaves its row all the same."""
    if asked.addresses and asked.has_key:
        return asked.addresses
    return [(None, None)]


def _row(
    number: int, controller: str, type: str | None, hash: bytes | None, pair: Pair, at: datetime | None, item: Item
) -> Answer:
    place = item.position
    return Answer(
        question=number, controller=controller, type=type, hash=hash, purpose=pair[0], channel=pair[1], at=at,
        allow=item.allow, reason=item.reason,
        shard=None if place is None else place.shard, pos=None if place is None else place.position,
    )  # fmt: skip
