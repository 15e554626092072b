"""The way out of a mail: the two headers that let a reader unsubscribe with one click."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consent_ledger.client.keys import BadKeyError
from consent_ledger.domain import unsubscribe
from consent_ledger.domain.unsubscribe import ALGORITHM, KEY_BYTES, TokenKey


def load_token_keys(source: Path | str | Mapping[str, Any]) -> dict[str, TokenKey]:
    """Read the keys for links out of what `consent keys export --links` gives, by controller: from a file or as it is.

    Raises `BadKeyError`; the message never shows a key.
    """
    try:
        document = source if isinstance(source, Mapping) else json.loads(Path(source).read_bytes())
        return {one["controller"]: _key(one["controller"], one["unsubscribe"])
                for one in document.get("keys", [document])}  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadKeyError(f"not an export of keys for links ({type(error).__name__})") from None


def _key(controller: str, one: Mapping[str, Any]) -> TokenKey:
    key = base64.b64decode(one["key"], validate=True)
    if one["alg"] != ALGORITHM or len(key) != KEY_BYTES:
        raise ValueError
    return TokenKey(controller=controller, kid=one["kid"], key=key)


class UnsubscribeLinks:
    """Makes links for the mails of one controller. Pure computation: nothing is asked, and nothing is kept.

        links = UnsubscribeLinks(load_token_keys("keys.json")["dekra-be"], "https://consent.example.be")
        for name, text in links.headers(purpose="newsletter-email", address=address).items():
            message[name] = text

    `mailto`: an address whose mail `consent inbound` reads, for readers whose program knows no other way.
    """

    def __init__(self, key: TokenKey, public_url: str, *, mailto: str | None = None) -> None:
        self._key = key
        self._url = public_url
        self._mailto = mailto

    def headers(self, *, purpose: str, address: str, channel: str = "email") -> Mapping[str, str]:
        """Return List-Unsubscribe and List-Unsubscribe-Post for a mail to one address; DKIM must cover both.

        Raises `IdentifierError` for an address that is none.
        """
        return unsubscribe.headers(self._url, self._token(purpose, channel, address), self._mailto)

    def link(self, *, purpose: str, address: str, channel: str = "email") -> str:
        """Return the address of the page on which to unsubscribe, for the text of a mail. Raises `IdentifierError`."""
        return unsubscribe.link(self._url, self._token(purpose, channel, address))

    def _token(self, purpose: str, channel: str, address: str) -> str:
        return unsubscribe.seal(self._key, purpose=purpose, channel=channel, address=address)
