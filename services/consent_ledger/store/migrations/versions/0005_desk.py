"""The desk: who may read a person's entries, looks, what became of quarantined records, voidings by two people."""

from consent_ledger.store.migrate import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_script(__file__)
