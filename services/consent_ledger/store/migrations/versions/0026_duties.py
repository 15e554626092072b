"""What else retention may delete, and which withdrawals nobody has been told of."""

from consent_ledger.store.migrate import run_script

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    run_script(__file__)
