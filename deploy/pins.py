"""Renews the pins of the whole closure of dependencies in pyproject.toml: `uv run poe pins`.

The lock file itself is not kept, because it names the host that each package came from.
"""

import subprocess
import tomllib
from pathlib import Path

import tomlkit

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Resolve everything anew, and pin what was found."""
    project = ROOT / "pyproject.toml"
    document = tomlkit.parse(project.read_text(encoding="utf-8"))
    document["tool"]["uv"]["constraint-dependencies"] = tomlkit.array()  # type: ignore[index]
    before = project.read_text(encoding="utf-8")
    project.write_text(tomlkit.dumps(document), encoding="utf-8")
    try:
        subprocess.run(["uv", "lock", "--upgrade"], cwd=ROOT, check=True)  # noqa: S607
    except BaseException:
        project.write_text(before, encoding="utf-8")
        raise
    locked = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    pins = tomlkit.array()
    for package in sorted(locked, key=lambda package: package["name"]):
        if package["name"] != "consent-ledger":
            pins.add_line(f"{package['name']}=={package['version']}")
    pins.add_line(indent="")
    document["tool"]["uv"]["constraint-dependencies"] = pins  # type: ignore[index]
    project.write_text(tomlkit.dumps(document), encoding="utf-8")
    subprocess.run(["uv", "lock"], cwd=ROOT, check=True)  # noqa: S607
    print(f"{len(pins)} packages pinned")


if __name__ == "__main__":
    main()
