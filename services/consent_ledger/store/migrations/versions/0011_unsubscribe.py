"""Keys of unsubscribe tokens."""

from consent_ledger.store.migrate import run_script

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_script(__file__)
