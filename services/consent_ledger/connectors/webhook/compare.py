"""What a webhook's endpoint was told, against all that its topic says: an endpoint cannot be asked what it keeps."""

from collections import Counter
from contextlib import aclosing

from consent_ledger.connectors.records import Records
from consent_ledger.connectors.state import State
from consent_ledger.connectors.webhook.connector import UNREADABLE
from consent_ledger.connectors.webhook.line import Line, read_letter


class Comparison:
    """Reads the topic from its beginning. What was never told is put in line, for whoever runs the connector.

    What is in line or parked already is under way, and no difference. `dry`: it is only counted.
    """

    def __init__(self, records: Records, line: Line, state: State, *, dry: bool) -> None:
        self._records = records
        self._line = line
        self._state = state
        self._dry = dry

    async def run(self) -> Counter[str]:
        """Compare once; `to be told`: how many records the endpoint lacks."""
        counts: Counter[str] = Counter({"to be told": 0})
        parked = {one.item.key for one in self._state.parked()}
        async with aclosing(self._records.batches(None)) as batches:
            async for batch in batches:
                letters = [
                    (item, read_letter(item)) for item in batch.items
                    if not item.key.startswith(UNREADABLE) and item.key not in parked
                ]  # fmt: skip
                missing = {
                    item.key: item for item, one in letters if not (self._line.is_told(one) or self._line.holds(one))
                }
                counts["records"] += len(batch.items)
                counts["to be told"] += len(missing)
                if not self._dry:
                    self._line.put(missing.values())
                if batch.last:
                    return counts
        return counts
