"""The view remembers for which instant it has decided."""

from consent_ledger.store.migrate import run_script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_script(__file__)
