"""What is known of the log outside the database: cosignatures, witnesses, and logs that have ended."""

from consent_ledger.store.migrate import run_script

revision = "0023"
down_revision = "0020"


def upgrade() -> None:
    run_script(__file__)
