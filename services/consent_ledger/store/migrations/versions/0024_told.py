"""What is to be told of persons on the changes topic."""

from consent_ledger.store.migrate import run_script

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    run_script(__file__)
