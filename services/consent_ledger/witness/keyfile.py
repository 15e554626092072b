"""The file in which a witness keeps its name and its key."""

import base64
import json
import secrets
from pathlib import Path

from consent_ledger.runtime.logkey import WitnessKey

_SEED_BYTES = 32


def create(path: Path, name: str) -> WitnessKey:
    """Make a key in a new file that only its owner reads. Raises FileExistsError, and ValueError for a bad name."""
    seed = secrets.token_bytes(_SEED_BYTES)
    key = WitnessKey(name, seed)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(json.dumps({"name": name, "seed": base64.b64encode(seed).decode()}), encoding="utf-8")
    return key


def read(path: Path) -> WitnessKey:
    """Read what `create` has made. Raises OSError, and ValueError for a file that is none."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return WitnessKey(said["name"], base64.b64decode(said["seed"], validate=True))
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{path} is no key file of a witness") from None
