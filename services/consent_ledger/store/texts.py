"""The texts that the ledger keeps word for word."""

from consent_ledger.domain import register as registers
from consent_ledger.domain.events import read_body
from consent_ledger.domain.texts import Text, standing
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import overview, statements

_SQL = statements.load(__file__)


async def registered(connection: Connection) -> list[Text]:
    """Return the texts that stand, in the order of their recording."""
    versions = await overview.register_versions(connection)
    number = versions[-1].version if versions else 0
    document = await overview.register_document(connection, number) if versions else {}
    found = []
    for row in await connection.fetch(_SQL["texts"]):
        body = read_body(row["body"])
        named = body.get("controllers")
        found += [
            Text(
                controller=controller, id=body["text_id"], version=body["text_version"], language=body["language"],
                hash=body["text_hash"], media_type=body.get("media_type", "text/plain"), text=body["text"],
                source=body["source"], event_id=row["event_id"], shard=row["shard"], position=row["pos"],
                recorded_at=row["recorded_at"],
            )
            for controller in (named if isinstance(named, list) else ())
        ]  # fmt: skip
    return standing(registers.compile(document, number), found)
