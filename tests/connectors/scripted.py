"""A connector that gives the batches of a test, and whose tool answers as the test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from consent_ledger.client.copy import Place
from consent_ledger.connectors.runner import Batch
from consent_ledger.connectors.state import Item


def items(*keys: str) -> list[Item]:
    return [Item(key=key, partitions=(int(key.rpartition("@")[2]),) if "@" in key else ()) for key in keys]


class Scripted:
    """Each batch is `(keys, place)`; `answers` may raise for the items that it is asked about."""

    def __init__(
        self,
        *batches: tuple[Sequence[str], bytes],
        answer: Callable[[Sequence[str]], None] = lambda _: None,
        places: Sequence[Place] = (),
    ) -> None:
        self.applied: list[str] = []
        self.asked: list[list[str]] = []
        self.began_at: bytes | None = None
        self._batches = batches
        self._answer = answer
        self._places = places

    async def batches(self, place: bytes | None) -> AsyncIterator[Batch]:
        self.began_at = place
        behind = [number for number, (_, one) in enumerate(self._batches) if one == place]
        for keys, one in self._batches[behind[0] + 1 if behind else 0 :]:
            yield Batch(items(*keys), one, self._places)
        while True:
            yield Batch(last=True, places=self._places)
            await asyncio.sleep(0.01)

    async def apply(self, some: Sequence[Item]) -> None:
        keys = [one.key for one in some]
        self.asked.append(keys)
        self._answer(keys)
        self.applied += keys
