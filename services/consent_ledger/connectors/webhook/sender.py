"""Sends messages to one endpoint, signed, and to no address that only this network can reach."""

import asyncio
import base64
import hmac
import ipaddress
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import httpx
from standardwebhooks import Webhook

from consent_ledger.connectors.http import Api, read
from consent_ledger.connectors.outcome import DeniedError
from consent_ledger.domain import webhook
from consent_ledger.domain.webhook import ChallengeAnswer

TIMEOUT_SECONDS: Final = 15.0
_SECRET_BYTES: Final = 32
_PREFIX: Final = "whsec_"


class Sending(Protocol):
    """What a webhook connector needs of its endpoint."""

    async def send(self, id_: str, body: bytes) -> None:
        """Deliver a message. Raises the errors of `outcome`."""


class Outside(httpx.AsyncHTTPTransport):
    """Reaches public addresses alone: a URL must not lead into the network that the connector stands in.

    The name is looked up here and the connection made to what was found, so that no second look-up says otherwise; the
    certificate is still that of the name.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Raises `DeniedError` where a name leads to an address of another sort."""
        host = request.url.host
        request.url = request.url.copy_with(host=await _public_address(host, request.url.port or 443))
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await super().handle_async_request(request)


async def _public_address(host: str, port: int) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError("no such name") from error
    addresses = [str(one[4][0]) for one in found]
    if not all(is_public(address) for address in addresses):
        raise DeniedError("the endpoint is at a private address, which `allow_private` would allow")
    return addresses[0]


def is_public(address: str) -> bool:
    """Tell whether an IP address can be reached from everywhere (IANA special-purpose registries; RFC 6890)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        # What goes on to an IPv4 address is judged by that (RFC 4291 2.5.5.2, RFC 6052, RFC 3056, RFC 4380).
        if (inner := found.ipv4_mapped or _translated(found) or found.sixtofour) is not None:
            return is_public(str(inner))
        if found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _translated(found: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if found in ipaddress.IPv6Network("64:ff9b::/96"):
        return ipaddress.IPv4Address(found.packed[-4:])
    return None


class Sender:
    """One endpoint. `good`: the secrets that are good now, the newest first; each signs.

    `allow_private`: it may be anywhere, also in this network. `ca_file`: who vouches for it, instead of the public
    authorities.
    """

    def __init__(
        self,
        url: str,
        good: Callable[[], Sequence[str]],
        *,
        rate: float,
        allow_private: bool = False,
        ca_file: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        clock: Callable[[], float],
    ) -> None:
        verify = ssl.create_default_context(cafile=ca_file)
        transport = httpx.AsyncHTTPTransport(verify=verify) if allow_private else Outside(verify=verify)
        self._url = url
        self._good = good
        self._clock = clock
        self._api = Api(url, rate=rate, transport=transport, timeout=timeout)

    async def close(self) -> None:
        """Let go of connections."""
        await self._api.close()

    async def send(self, id_: str, body: bytes) -> None:
        """Deliver a message. Raises the errors of `outcome`."""
        await self._send(id_, datetime.fromtimestamp(int(self._clock()), UTC), body)

    async def _send(self, id_: str, now: datetime, body: bytes) -> httpx.Response:
        signed = [Webhook(secret).sign(id_, now, body.decode()) for secret in self._good()]
        return await self._api.post(self._url, body, {
            "Content-Type": "application/json", "webhook-id": id_, "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signed),
        })  # fmt: skip

    async def prove(self) -> bool:
        """Ask the endpoint to prove that it holds the newest secret. Raises the errors of `outcome`."""
        text, id_ = secrets.token_urlsafe(32), f"msg_{secrets.token_hex(16)}"
        now = datetime.fromtimestamp(int(self._clock()), UTC)
        answer = await self._send(id_, now, webhook.challenge(text, now))
        expected = Webhook(self._good()[0]).sign(id_, now, text)
        return hmac.compare_digest(read(answer, ChallengeAnswer).signature.encode(), expected.encode())


def new_secret() -> str:
    """Make a secret as the specification has it: 24 to 64 bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
