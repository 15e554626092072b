"""`consent witness`: a witness for logs, to be run where the log's own administrators cannot reach."""

import socket
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from consent_ledger.cli.terminal import USAGE, AsJson, err, fail, out, say_json
from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.tree import ProofError
from consent_ledger.witness import keyfile

app = typer.Typer(
    no_args_is_help=True, help="Cosign the checkpoints of logs that go on as they were (C2SP tlog-witness)."
)

KeyFile = Annotated[Path, typer.Option(help="Where the witness's key is.")]
_KEY_FILE = Path("witness-key.json")


@app.command()
def key(
    *,
    name: Annotated[str | None, typer.Option(help="Make a new key, of a witness of this name.")] = None,
    key_file: KeyFile = _KEY_FILE,
    as_json: AsJson = False,
) -> None:
    """Print the verifier key of the witness, which logs and whoever checks proofs are told; --name makes one first."""
    try:
        made = keyfile.create(key_file, name) if name is not None else keyfile.read(key_file)
    except FileExistsError:
        fail(f"{key_file} exists already: a witness keeps its key", USAGE)
    except (OSError, ValueError) as error:
        fail(str(error), USAGE)
    if as_json:
        say_json({"name": made.name, "verifier_key": made.public})
    else:
        out.print(Text(made.public), soft_wrap=True)


@app.command()
def run(
    *,
    log: Annotated[list[str], typer.Option(help="Verifier key of a log to sign for; repeat for more.")],
    key_file: KeyFile = _KEY_FILE,
    state: Annotated[Path, typer.Option(help="Directory that keeps what was signed last.")] = Path("witness"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8070,
) -> None:
    """Answer POST /add-checkpoint until told to end. Losing the directory means to need a new key."""
    # What serves takes long to import, and every other command does without.
    from consent_ledger.witness.server import serve  # noqa: PLC0415
    from consent_ledger.witness.witness import Witness  # noqa: PLC0415

    try:
        witness = Witness(keyfile.read(key_file), [VerifierKey.parse(one) for one in log], state)
        opened = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except BlockingIOError:
        fail(f"another witness runs on {state}", USAGE)
    except (OSError, ValueError, ProofError) as error:
        fail(str(error), USAGE)
    err.print(Text(f"listening on {host}:{port}", style="dim"))
    serve(witness, opened)
