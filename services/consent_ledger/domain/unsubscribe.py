"""Unsubscribe tokens (RFC 8058): an opaque word in a link that names controller, purpose, channel and address.

A token is sealed with AES-SIV (RFC 5297) under a key of its controller: nobody reads an address from it or makes one
without the key. It does not expire; it opens as long as its key is kept, and keys are kept for ever (domain.md 7.3).
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from consent_ledger.domain import identifiers
from consent_ledger.domain.decision import ADDRESS_OF
from consent_ledger.domain.register import CONSENT

ALGORITHM: Final = "AES-256-SIV"
KEY_BYTES: Final = 64

_FORMAT: Final = b"\x01"
_KID_BYTES: Final = 8
_HEAD_BYTES: Final = len(_FORMAT) + _KID_BYTES
_TAG_BYTES: Final = 16
_TOKEN_MAX_CHARS: Final = 4096

FindKey = Callable[[str], "TokenKey | None"]


class TokenKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key under which a controller's tokens are sealed; `kid` stands in each of them. It is a secret."""

    controller: str
    kid: str
    key: bytes

    def __repr__(self) -> str:
        return f"TokenKey(controller={self.controller!r}, kid={self.kid!r})"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says: this address wants no more of this purpose over this channel."""

    controller: str
    purpose: str
    channel: str
    address: str

    @property
    def identifier(self) -> dict[str, str]:
        """The address as an identifier of an event."""
        return {"type": ADDRESS_OF.get(self.channel) or "email", "value": self.address}


_Sealed = tuple[str, str, str]


def seal(key: TokenKey, *, purpose: str, channel: str, address: str) -> str:
    """Make the token of an address; the same address has the same token under the same key.

    Raises `IdentifierError` for an address that is none, ValueError for a channel that has no addresses.
    """
    kind = ADDRESS_OF.get(channel)
    if kind is None:
        raise ValueError("the channel has no addresses")
    head = _FORMAT + bytes.fromhex(key.kid)
    plaintext = msgspec.msgpack.encode((purpose, channel, identifiers.normalise(kind, address)))
    sealed = AESSIV(key.key).encrypt(plaintext, [head, key.controller.encode()])
    return base64.urlsafe_b64encode(head + sealed).decode().rstrip("=")


def kid_of(token: str) -> str | None:
    """Return which key a token was sealed under; None when it cannot be a token."""
    raw = _bytes(token)
    return raw[len(_FORMAT) : _HEAD_BYTES].hex() if raw is not None else None


def open_token(token: str, find: FindKey) -> Claim | None:
    """Return what a token says; None when it is none of ours, or was altered. Never raises."""
    raw = _bytes(token)
    key = find(raw[len(_FORMAT) : _HEAD_BYTES].hex()) if raw is not None else None
    if raw is None or key is None:
        return None
    try:
        plaintext = AESSIV(key.key).decrypt(raw[_HEAD_BYTES:], [raw[:_HEAD_BYTES], key.controller.encode()])
        purpose, channel, address = msgspec.msgpack.decode(plaintext, type=_Sealed)
    except (InvalidTag, msgspec.DecodeError):
        return None
    return Claim(controller=key.controller, purpose=purpose, channel=channel, address=address)


def _bytes(token: str) -> bytes | None:
    if len(token) > _TOKEN_MAX_CHARS:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if raw.startswith(_FORMAT) and len(raw) > _HEAD_BYTES + _TAG_BYTES else None


def refusal(claim: Claim, basis: str | None, received_via: str) -> tuple[str, dict[str, Any]]:
    """Give the type and the data of the event that a use of the token is (domain.md 7.3).

    `basis` None: the purpose is not registered any more, or nobody can tell. A withdrawal is right then as well: where
    the purpose rests on legitimate interest it counts as an objection, and where it is unknown as a refusal of
    everything (domain.md 6.6). The refusal is this entity's, whatever a controller's objections reach by default.
    """
    data: dict[str, Any] = {
        "controllers": [claim.controller],
        "controller_scope": "entity",
        "subject": [claim.identifier],
        "purposes": [claim.purpose],
        "channels": [claim.channel],
        "received_via": received_via,
    }
    if basis in {None, CONSENT}:
        return "consent-withdrawn", data
    return "objection-raised", {**data, "kind": "direct-marketing"}


def headers(url: str, token: str, mailto: str | None = None) -> Mapping[str, str]:
    """Give the two headers of a mail that its reader can unsubscribe from (RFC 2369, RFC 8058).

    `url`: where the service is reached, with https. `mailto`: an address whose mail `consent inbound` reads. Both
    headers must be covered by the DKIM signature.
    """
    ways = [f"<{link(url, token)}>"] + ([f"<mailto:{mailto}?subject={token}>"] if mailto else [])
    return {"List-Unsubscribe": ", ".join(ways), "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def link(url: str, token: str) -> str:
    """Give the address of the page that a token opens. Raises ValueError for anything but https, or this machine."""
    if not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise ValueError("a link for mail begins with https://")
    return f"{url.rstrip('/')}/u/{token}"
