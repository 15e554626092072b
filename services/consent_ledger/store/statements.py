"""Named SQL statements from the `.sql` file beside a store module."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(module: str) -> dict[str, str]:
    """Return the statements of the `.sql` file that lies beside `module` (its `__file__`), by name."""
    _, *parts = _NAME.split(Path(module).with_suffix(".sql").read_text(encoding="utf-8"))
    return dict(zip(parts[::2], parts[1::2], strict=True))
