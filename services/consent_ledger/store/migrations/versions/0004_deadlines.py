"""An index of what concerns the requests of subjects, and the one role that deletes evidence whose time is over."""

from consent_ledger.store.migrate import run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_script(__file__)
