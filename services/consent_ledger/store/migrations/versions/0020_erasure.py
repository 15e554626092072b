"""Erasure, by one role that destroys what an executed erasure names and nothing else; epochs of key-encryption keys."""

from consent_ledger.store.migrate import run_script

revision = "0020"
down_revision = "0013"


def upgrade() -> None:
    run_script(__file__)
