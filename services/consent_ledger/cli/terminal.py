"""How every command talks: tables for people, JSON for programs, one clear line where something is missing."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, Final, NoReturn, TypeVar

import asyncpg
import httpx
import msgspec
import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consent_ledger.runtime.keys import KeyUnavailableError
from consent_ledger.runtime.local import LocalServerError
from consent_ledger.runtime.objects import ObjectsError
from consent_ledger.runtime.settings import MissingSettingError
from consent_ledger.runtime.supervise import ServiceError
from consent_ledger.runtime.topics import PartitionsError

T = TypeVar("T")

# Exit status of every command.
OK: Final = 0
NO: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3

AsJson = Annotated[bool, typer.Option("--json", help="Print data instead of text.")]

# Where nobody sees the width, lines are not to be broken at a guess.
_UNSEEN_WIDTH: Final = 200


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_UNSEEN_WIDTH)


out = _console(stderr=False)
err = _console(stderr=True)


def say_json(value: Any) -> None:
    """Print one line of JSON on standard output, at once."""
    typer.echo(msgspec.json.encode(value))


def fail(message: str, status: int = UNAVAILABLE) -> NoReturn:
    """Say in one line why the command ends, and end it."""
    err.print(Text(f"consent: {message}"), soft_wrap=True)
    raise typer.Exit(status)


def table(title: str, *columns: str, rows: list[tuple[Any, ...]], right: tuple[int, ...] = ()) -> Table:
    """Make a table of texts; `right` are the numbers of columns that hold figures."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    return made


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def visible(text: str) -> str:
    """Make text from outside fit for a terminal: what is not printable, such as an escape, is written out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def yes_no(*, yes: bool, text: str | None = None) -> Text:
    """Write an answer so that it can be told at a glance."""
    return Text(text or ("yes" if yes else "no"), style="green" if yes else "bold red")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; what it needs and does not find ends the command with one line and status 3."""
    try:
        return asyncio.run(work)
    except MissingSettingError as error:
        fail(f"{error}, and no `consent up` runs here: start it, say where with --data, or set it")
    except (LocalServerError, ServiceError, KeyUnavailableError, ObjectsError, PartitionsError) as error:
        fail(str(error))
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.InvalidParameterValueError):
        fail("the database has no ledger of this version: run `consent migrate`")
    except (asyncpg.InvalidPasswordError, asyncpg.InsufficientPrivilegeError, asyncpg.InvalidCatalogNameError) as error:
        fail(f"the database refuses: {error}; look at CONSENT_DATABASE_URL")
    except KafkaError as error:
        fail(f"Kafka does not answer ({type(error).__name__}): look at CONSENT_KAFKA_BOOTSTRAP_SERVERS, then try again")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fail(f"the API does not answer ({type(error).__name__}): look at CONSENT_API_URL, then try again")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            fail(f"{error.filename}: {error.strerror}", USAGE)
        fail(f"the database does not answer ({type(error).__name__}): look at CONSENT_DATABASE_URL, then try again")
