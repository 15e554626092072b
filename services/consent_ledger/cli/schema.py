"""`consent migrate`: brings the database to the schema of this version."""

from consent_ledger.cli import found
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import out, run


def migrate(*, data: Data = found.DEFAULT_DATA) -> None:
    """Apply every migration that the database lacks. Its user must own it and may create roles."""
    # The tools of migration take as long to import as all the rest, and every other command does without.
    from consent_ledger.store.migrate import migrate as migrate_database  # noqa: PLC0415

    async def work() -> None:
        await migrate_database(found.settings(data).dsn)

    run(work())
    out.print("The database is at the schema of this version.")
