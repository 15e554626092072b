"""The index rows of the files of requests that refuse nothing."""

from consent_ledger.store.migrate import run_script

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    run_script(__file__)
