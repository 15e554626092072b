"""A view made anew beside the live one."""

from consent_ledger.store.migrate import run_script

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    run_script(__file__)
