"""Who changed since when, and what campaigns were answered."""

from consent_ledger.store.migrate import run_script

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_script(__file__)
