"""Who has nothing to do waits on the server, where looking again costs next to nothing."""

from consent_ledger.store.migrate import run_script

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_script(__file__)
