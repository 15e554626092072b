"""`python -m consent_ledger.connectors.postfix --config FILE`: the gate's process."""

import argparse
from pathlib import Path

from consent_ledger.connectors.postfix import BadConfigurationError, load, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m consent_ledger.connectors.postfix", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="The configuration file (TOML).")
    try:
        run(load(parser.parse_args().config))
    except (BadConfigurationError, OSError) as error:
        parser.error(str(error))
