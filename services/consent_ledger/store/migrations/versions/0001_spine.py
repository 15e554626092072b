"""The spine: ledger, view, topic."""

from consent_ledger.store.migrate import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_script(__file__)
