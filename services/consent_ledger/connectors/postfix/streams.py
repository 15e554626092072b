"""Which mail is judged, and for what: a request's attributes against the streams of the configuration."""

import ipaddress
from collections.abc import Mapping, Sequence

from consent_ledger.connectors.postfix.settings import Network, Stream, folded


class Streams:
    """The streams of a policy server, in the order in which they are tried."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._matchers = [_Matcher(stream) for stream in streams]

    def find(self, attributes: Mapping[str, str]) -> Stream | None:
        """Return the first stream that a request belongs to."""
        sender, tag = _untagged(attributes.get("sender", ""))
        asked = (sender, tag, attributes.get("sasl_username", "").casefold(), attributes.get("client_address", ""))
        return next((one.stream for one in self._matchers if one.is_met(*asked)), None)


class _Matcher:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        # A tag in a pattern would never be met, as mail is compared without.
        self._addresses = {_untagged(one)[0] for one in stream.sender if "@" in one}
        self._domains = {_domain(one) for one in stream.sender if "@" not in one and not one.startswith(".")}
        self._endings = tuple(f".{_domain(one[1:])}" for one in stream.sender if one.startswith("."))
        self._tags = {one.casefold() for one in stream.tag}
        self._logins = {one.casefold() for one in stream.sasl_username}
        self._networks: list[Network] = [ipaddress.ip_network(one) for one in stream.client_address]

    def is_met(self, sender: str, tag: str, login: str, client: str) -> bool:
        return (
            (not self.stream.sender or self._is_sender(sender))
            and (not self._tags or tag in self._tags)
            and (not self._logins or login in self._logins)
            and (not self._networks or self._is_client(client))
        )

    def _is_sender(self, sender: str) -> bool:
        domain = sender.rpartition("@")[2]
        return sender in self._addresses or domain in self._domains or domain.endswith(self._endings)

    def _is_client(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _domain(name: str) -> str:
    return folded(f"x@{name}").rpartition("@")[2]


def _untagged(sender: str) -> tuple[str, str]:
    """Part a sender into what it is without its plus-tags, and the first of them (`a+tag+an=example.be@b` → tag)."""
    local, at, domain = folded(sender).rpartition("@")
    name, _, tags = local.partition("+")
    return f"{name}{at}{domain}", tags.partition("+")[0].casefold()
