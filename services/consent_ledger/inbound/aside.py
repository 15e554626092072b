"""Where mails lie that nobody understood, for somebody to look at: files that only their owner may read."""

import hashlib
import os
from pathlib import Path


def keep(directory: Path, raw: bytes) -> Path:
    """Write a mail down so that it survives a crash, and return where; the same mail lies there once.

    Raises OSError when it cannot be kept.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{hashlib.sha256(raw).hexdigest()}.eml"
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path
