"""`consent up`: everything on this machine, until it is told to stop."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.installation import Installation, installed
from consent_ledger.cli.register import load_all, not_in_force, shipped
from consent_ledger.cli.terminal import NO, USAGE, AsJson, err, fail, out, run, say_json
from consent_ledger.runtime.settings import Settings
from consent_ledger.runtime.supervise import until_told

_LOSS: Final = "Keep a copy of the key file apart from the database: losing it loses every address, hash and proof."


def up(
    *,
    data: Annotated[
        Path, typer.Option(envvar="CONSENT_DATA", help="Where servers, logs and keys are kept.")
    ] = found.DEFAULT_DATA,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove first what an earlier run left there.")] = False,
    demo_registers: Annotated[
        bool, typer.Option("--demo-registers", help="Load the registers of five example companies.")
    ] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the API.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start Kafka, PostgreSQL and all services on this machine, and run until stopped (ctrl-C, SIGTERM).

    CONSENT_KAFKA_BOOTSTRAP_SERVERS and CONSENT_DATABASE_URL name servers to use instead. What is kept in the
    data directory is there again the next time.
    """
    said = found.environment()
    if fresh and (said.database_url or said.kafka_bootstrap_servers):
        fail("--fresh removes local data only, and the environment names a server of yours", USAGE)
    asked = _Asked(
        data=data.expanduser().absolute(),
        said=said,
        fresh=fresh,
        demo_registers=demo_registers,
        port=port,
        as_json=as_json,
    )
    run(until_told(_serve(asked)))


class _Asked:
    def __init__(
        self, *, data: Path, said: Settings, fresh: bool, demo_registers: bool, port: int | None, as_json: bool
    ) -> None:
        self.data = data
        self.said = said
        self.fresh = fresh
        self.demo_registers = demo_registers
        self.port = port
        self.as_json = as_json


async def _serve(asked: _Asked) -> None:
    async with installed(asked.data, asked.said, report=_report, port=asked.port, fresh=asked.fresh) as installation:
        if asked.demo_registers:
            wanted = await not_in_force(installation.settings, shipped())
            for loaded in await load_all(installation.settings, wanted):
                _report(f"register {loaded.name} is in force as version {loaded.version}")
                if loaded.problem is not None:
                    fail(f"{loaded.name}: {loaded.problem}", NO)
        if asked.as_json:
            say_json(installation.addresses)
        else:
            _say(installation, asked.data)
        await asyncio.Event().wait()


def _report(progress: str) -> None:
    err.print(Text(progress, style="dim"), soft_wrap=True)


def _say(installation: Installation, data: Path) -> None:
    at = installation.addresses
    here = "" if data == found.DEFAULT_DATA.absolute() else f" --data {data}"
    out.print()
    for name, value in (
        ("API", at.api),
        ("API key", at.api_key),
        ("Kafka", at.kafka),
        ("topics", f"{at.topic_prefix}*"),
        ("database", at.database),
        ("key file", at.key_file),
        ("logs", str(installation.data / "logs")),
    ):
        out.print(Text.assemble((f"{name:>9}  ", "dim"), value), soft_wrap=True)
    out.print(Text(f"\n{_LOSS}", style="bold yellow"))
    out.print(f"\nReady. Try in another terminal: consent doctor{here}\nStop with ctrl-C.")
