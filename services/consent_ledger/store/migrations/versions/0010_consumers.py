"""Consumers of the suppressions topic, how far each has applied it, and how late what was published and applied was."""

from consent_ledger.store.migrate import run_script

revision = "0010"
down_revision = "0006"


def upgrade() -> None:
    run_script(__file__)
