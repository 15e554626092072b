"""What the ledger holds of what came by mail."""

from collections import Counter
from uuid import UUID

from consent_ledger.domain.inbound import read
from consent_ledger.inbound.intake import Intake
from running import Installation


async def ids(intake: Intake, *mails: bytes) -> list[UUID]:
    """The ids of the events that mails are read for."""
    known = await intake.known()
    return [one.id for mail in mails for one in read(mail, known).told]


async def entries(ledger: Installation, wanted: list[UUID]) -> Counter[str]:
    """Count the ledger's entries under these ids by type, once it has all that Kafka has; and their duplicates."""
    await ledger.recorded_to_the_end()
    rows = await ledger.fetch("SELECT type FROM ledger WHERE event_id = ANY($1::uuid[])", wanted)
    return Counter(row["type"] for row in rows)
