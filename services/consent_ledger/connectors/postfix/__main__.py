"""`python -m consent_ledger.connectors.postfix --config FILE`: the gate's process."""

import argparse
from pathlib import Path

from consent_ledger.connectors.postfix import load, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m consent_ledger.connectors.postfix", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="The configuration file (TOML).")
    run(load(parser.parse_args().config))
