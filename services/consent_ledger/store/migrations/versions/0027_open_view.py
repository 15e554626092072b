"""The view is looked at and locked in one round trip."""

from consent_ledger.store.migrate import run_script

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    run_script(__file__)
