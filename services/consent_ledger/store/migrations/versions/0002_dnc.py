"""Do-not-call registers: snapshots, and what each changes in the listings that a controller may ask."""

from consent_ledger.store.migrate import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_script(__file__)
