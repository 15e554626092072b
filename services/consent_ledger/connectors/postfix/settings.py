"""The gate's configuration file: where the view is, which mail is judged, and for what (TOML)."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

from consent_ledger.connectors.settings import BadConfigurationError, Name, Strict, View, read
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.identifiers import normalise

__all__ = [
    "BadConfigurationError",
    "Configuration",
    "Listen",
    "Policy",
    "Purpose",
    "Stream",
    "Table",
    "View",
    "folded",
    "load",
]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Listen(msgspec.Struct, frozen=True):
    """Where to listen: `127.0.0.1:PORT`, `[::1]:PORT`, or `unix:/PATH`. What is asked there names people."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError."""
        if text.startswith("unix:/"):
            return cls(path=text.removeprefix("unix:"))
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            is_local = ipaddress.ip_address(host).is_loopback and 0 <= int(port) < 1 << 16
        except ValueError:
            is_local = False
        if not is_local:
            raise ValueError(f"listen {text!r} is neither HOST:PORT on a loopback address nor unix:/PATH")
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Purpose(Strict, frozen=True, kw_only=True):
    """On whose behalf and for what a mail is sent; the channel is email."""

    controller: Name
    purpose: Name


class Stream(Purpose, frozen=True, kw_only=True):
    """Mail to be judged: each criterion that is given must be met, by one of its values.

    `sender`: envelope senders, as address, `shop.example` (this domain) or `.shop.example` (all below it); plus-tags
    of the sender are passed over. `tag`: plus-tags of the envelope sender (`bounce+TAG@…`), by which a tool marks a
    class of mail, for headers are not known at RCPT. `sasl_username`: logins. `client_address`: networks.
    """

    sender: tuple[Name, ...] = ()
    tag: tuple[Name, ...] = ()
    sasl_username: tuple[Name, ...] = ()
    client_address: tuple[Name, ...] = ()

    def __post_init__(self) -> None:
        if not (self.sender or self.tag or self.sasl_username or self.client_address):
            raise ValueError("a stream needs a criterion: sender, tag, sasl_username or client_address")
        for network in self.client_address:
            ipaddress.ip_network(network)


class Policy(Strict, frozen=True, kw_only=True):
    """The server for `check_policy_service`. `unmatched`: what mail of no stream is answered."""

    listen: Name
    stream: Annotated[tuple[Stream, ...], Meta(min_length=1)]
    unmatched: Literal["DUNNO", "DEFER_IF_PERMIT", "REJECT"] = "DUNNO"


class Table(Purpose, frozen=True, kw_only=True):
    """A tcp_table for `check_recipient_access`: all that is asked there is one stream."""

    listen: Name


class Configuration(Strict, frozen=True, kw_only=True):
    """The whole file. `metrics_port`: on the loopback address; 0 for none."""

    view: View
    policy: Policy | None = None
    table: tuple[Table, ...] = ()
    metrics_port: Annotated[int, Meta(ge=0, lt=1 << 16)] = 0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def __post_init__(self) -> None:
        listens = [table.listen for table in self.table]
        if self.policy is not None:
            listens.append(self.policy.listen)
        if not listens:
            raise ValueError("nothing to serve: give [policy] or [[table]]")
        for listen in listens:
            Listen.read(listen)


def load(path: Path) -> Configuration:
    """Read and check a file. Raises BadConfigurationError, and OSError where it cannot be read."""
    return read(path, Configuration)


def folded(address: str) -> str:
    """Bring an envelope sender into one form; one that is no address of a person, such as a host's, is kept."""
    try:
        return normalise("email", address)
    except IdentifierError:
        return address.strip().lower()
