"""What an erasure destroys is an entry before it is destroyed."""

from consent_ledger.store.migrate import run_script

revision = "0030"
down_revision = "0028"


def upgrade() -> None:
    run_script(__file__)
