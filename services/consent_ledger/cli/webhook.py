"""`consent connector webhook`: the secret of an endpoint, its proof, and what was delivered to it."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from consent_ledger.cli.terminal import NO, UNAVAILABLE, USAGE, AsJson, fail, out, say_json, table
from consent_ledger.connectors import kinds
from consent_ledger.connectors.outcome import AwayError, FailedError, RefusedError
from consent_ledger.connectors.settings import BadConfigurationError
from consent_ledger.connectors.webhook import settings
from consent_ledger.connectors.webhook.settings import WebhookTable

app = typer.Typer(no_args_is_help=True, help="Endpoints of webhooks: secret, challenge, delivery log.")

Config = Annotated[
    Path,
    typer.Option(
        "--config", envvar="CONSENT_CONNECTORS", exists=True, dir_okay=False, help="The connectors' file (TOML)."
    ),
]
Name = Annotated[str, typer.Argument(help="The connector, as the file names it.")]
DEFAULT: Final = Path("connectors.toml")


@app.callback()
def group() -> None:
    """Endpoints of webhooks: secret, challenge, delivery log."""


@app.command()
def secret(
    *,
    name: Name,
    config: Config = DEFAULT,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the secrets before it sign too.")] = 24.0,
) -> None:
    """Make a new secret for an endpoint and show it, this once."""
    made = settings.renew_secret(_found(config, name), overlap_hours * 3600)
    out.print(made, soft_wrap=True, highlight=False)


@app.command()
def challenge(*, name: Name, config: Config = DEFAULT) -> None:
    """Have an endpoint prove that it holds the secret. Until it has, and after a 410, nothing is sent to it."""
    try:
        proved = asyncio.run(settings.challenge(_found(config, name)))
    except BadConfigurationError as error:
        fail(str(error), USAGE)
    except AwayError as error:
        fail(f"the endpoint does not answer as it should: {error}", UNAVAILABLE)
    except (FailedError, RefusedError) as error:
        fail(f"the endpoint does not answer as it should: {error}", NO)
    except OSError as error:
        fail(f"{error.filename or 'connector'}: {error.strerror or error}", USAGE)
    if not proved:
        fail("the endpoint does not hold the secret", NO)
    out.print(f"proved; now: consent connector run {name}")


@app.command()
def log(
    *,
    name: Name,
    config: Config = DEFAULT,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest attempts.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List attempts, the newest last: message, key, how many-th attempt, and what came of it."""
    found = settings.delivery_log(_found(config, name), limit)
    if as_json:
        say_json([one._asdict() for one in found])
    else:
        out.print(table("Deliveries", "at (UTC)", "message", "key", "attempt", "outcome", rows=list(found), right=(3,)))


def _found(config: Path, name: str) -> WebhookTable:
    try:
        kind = kinds.load(config).connector.get(name)
    except BadConfigurationError as error:
        fail(str(error), USAGE)
    if not isinstance(kind, WebhookTable):
        fail(f"{config} has no webhook {name}", USAGE)
    return kind
