"""Registers that are loaded ahead of the instant at which they come into force."""

from consent_ledger.store.migrate import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_script(__file__)
