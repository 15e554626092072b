"""Texts that subjects are shown, and looks, found by an index of their own."""

from consent_ledger.store.migrate import run_script

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run_script(__file__)
