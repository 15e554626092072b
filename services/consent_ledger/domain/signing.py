"""Signatures of sources over events: Ed25519 (RFC 8032) over the attributes that matter and the data, as JSON.

A signed event has one attribute more, `signature`: base64 over the canonical JSON (RFC 8785; keys sorted, no blanks) of
`{"data", "id", "source", "time", "type"}` as they are sent, in whatever mode. A source has its public keys in the
register, written `ed25519:` and 32 bytes in base64; several while one replaces another.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from consent_ledger.domain import cloudevents, events, strictjson
from consent_ledger.domain.cloudevents import KafkaHeaders
from consent_ledger.domain.errors import ConsentError, Flaw

ATTRIBUTE: Final = "signature"
_SIGNED: Final = ("data", "id", "source", "time", "type")
_PREFIX: Final = "ed25519:"
_KEY_BYTES: Final = 32


class SigningKeyError(ConsentError, ValueError):
    """What was given is no Ed25519 key of a source; the message never shows it."""


class SigningKey:
    """The private key of a source, in a file as `openssl genpkey -algorithm ed25519` writes it. It is a secret."""

    def __init__(self, pem: bytes) -> None:
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise SigningKeyError(f"not a private key in PEM without a password ({type(error).__name__})") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError("not an Ed25519 key")
        self._key = key

    @property
    def public(self) -> str:
        """The public key as the register has it under `keys` of the source."""
        return _PREFIX + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, event: bytes) -> bytes:
        """Sign an event in structured mode, as `cloudevents.build` makes it; return it with its signature."""
        said, _ = strictjson.read(event)
        signature = base64.b64encode(self._key.sign(_message(said))).decode()
        return b'%b,"%b":"%b"}' % (event.rstrip()[:-1], ATTRIBUTE.encode(), signature.encode())


def public_key(written: str) -> bytes:
    """Read a public key of the register. Raises `SigningKeyError`."""
    try:
        key = base64.b64decode(written.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not written.startswith(_PREFIX) or len(key) != _KEY_BYTES:
        raise SigningKeyError(f"a key is {_PREFIX} and {_KEY_BYTES} bytes in base64")
    return key


def flaw(value: bytes | None, headers: KafkaHeaders, keys: Iterable[bytes]) -> Flaw | None:
    """Tell what is wrong with the signature of a record that has no other flaw; None if one of the keys made it."""
    said, _ = cloudevents.from_kafka(value, headers)
    written = said.get(ATTRIBUTE)
    if written is None:
        return Flaw("UNSIGNED", "the source has keys in the register, and the event has no signature")
    try:
        signature = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError, TypeError):
        return Flaw("BAD_SIGNATURE", "the signature is not base64")
    message = _message(said)
    if any(_made(key, signature, message) for key in keys):
        return None
    return Flaw("BAD_SIGNATURE", "no key of the source made the signature of this event")


def _made(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _message(said: Mapping[str, Any]) -> bytes:
    return events.canonical({name: said.get(name) for name in _SIGNED})
