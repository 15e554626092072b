"""`consent up` as a process of its own, and commands run on it within this one."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from typer.testing import CliRunner

from consent_ledger.cli.main import app
from mortal import mortal

READY_SECONDS = 150
END_SECONDS = 10


class Up(NamedTuple):
    """A running `consent up --json`, with the line it printed."""

    process: subprocess.Popen[str]
    data: Path
    said: dict[str, str]

    def family(self) -> list[psutil.Process]:
        """Everything that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)


class Answer(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.out)


def consent(*arguments: str, data: Path | None = None, said_in: str | bytes | None = None) -> Answer:
    """Run a command within this process."""
    found = ["--data", str(data)] if data is not None else []
    result = CliRunner().invoke(app, [*arguments, *found], input=said_in)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


@contextmanager
def started(data: Path, *options: str) -> Iterator[Up]:
    """Run `consent up --json` until the block ends."""
    command = [sys.executable, "-m", "consent_ledger.cli.main", "up", "--json", "--data", str(data), *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_")}
    with (data.parent / "up.err").open("w") as errors:
        process = subprocess.Popen(mortal(command), stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    stuck = threading.Timer(READY_SECONDS, process.kill)
    stuck.start()
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        stuck.cancel()
        assert line, (data.parent / "up.err").read_text()
        yield Up(process, data, json.loads(line))
    finally:
        stuck.cancel()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
