"""The Merkle log over the ledger: tiles and signed checkpoints."""

from consent_ledger.store.migrate import run_script

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_script(__file__)
