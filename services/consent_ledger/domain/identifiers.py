"""Identifiers of a person in the one form under which they are stored, hashed and asked for (domain.md section 5)."""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec
import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from consent_ledger.domain.errors import IdentifierError

TYPES: Final = ("email", "phone", "postal", "customer_no", "account_id", "device")
MAX_CHARS: Final = 500

# NUL and the other control characters, and surrogates: no address holds them, and databases and logs choke on them.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RAW_MAX_CHARS: Final = 1000


class Identifier(msgspec.Struct, frozen=True, kw_only=True):
    """An address or number of a person. `raw`: it could not be normalised and stands as given (refusals only)."""

    type: str
    value: str
    shared: bool = False
    raw: bool = False


def normalise(type: str, value: str) -> str:
    """Bring a value into its one form, idempotently; raises `IdentifierError`.

    E-mail: trimmed, NFC, lower case, domain in ASCII (IDNA 2008), dots and plus-tags kept (domain.md 9.17).
    Phone: E.164 from international format, also with a leading 00. Postal: upper case, single spaces.
    customer_no, account_id, device: as given, trimmed.
    """
    rule = _RULES.get(type)
    if rule is None:
        raise IdentifierError("unknown type of identifier")
    if len(value) > MAX_CHARS:
        raise IdentifierError(f"longer than {MAX_CHARS} characters")
    return rule(value)


def normalise_or_raw(type: str, value: str) -> tuple[str, bool]:
    """Bring a value into its one form, or keep it raw (True), so that a refusal binds what it names.

    Raw values lose control characters and surrogates and are trimmed; questions about such a value must take the
    same way. An empty result names nobody.
    """
    try:
        return normalise(type, value), False
    except IdentifierError:
        raw = _UNFIT.sub("", value[:_RAW_MAX_CHARS]).strip()
    try:
        return normalise(type, raw), False
    except IdentifierError:
        return raw, True


# -- e-mail

# What e-mail mostly looks like: the library would return it in lower case. At most 64 characters, so that no label or
# part can be too long; labels with "--" inside may be Punycode and are left to the library.
_PLAIN_MAX_CHARS: Final = 64
_is_plain_local: Final = re.compile(r"[a-z0-9_!#$%&'*+\-/=?^`{|}~]+(?:\.[a-z0-9_!#$%&'*+\-/=?^`{|}~]+)*").fullmatch
_PLAIN_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+([a-z0-9-]*[a-z])")
_RESERVED_ENDINGS: Final = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)


def _email(value: str) -> str:
    value = value.strip()
    if value.isascii() and len(value) <= _PLAIN_MAX_CHARS:
        lowered = value.lower()
        local, _, domain = lowered.partition("@")
        if _is_plain_local(local) and _is_plain_domain(domain):
            return lowered
    return _email_by_library(value)


# Most addresses are at few domains.
@lru_cache(maxsize=16_384)
def _is_plain_domain(domain: str) -> bool:
    plain = _PLAIN_DOMAIN.fullmatch(domain)
    return plain is not None and "--" not in domain and plain[1] not in _RESERVED_ENDINGS and plain[1][0] != "-"


@lru_cache(maxsize=16_384)
def _email_by_library(value: str) -> str:
    try:
        found = validate_email(value, check_deliverability=False, allow_smtputf8=True)
    except EmailNotValidError:
        # The library's message may quote the address.
        raise IdentifierError("not an e-mail address") from None
    # Lower case may bring letters and accents together that NFC then makes one: J + caron has no one letter, j has.
    local = unicodedata.normalize("NFC", found.local_part.lower())
    return f"{local}@{found.ascii_domain}"


# -- phone

_PHONE_SHAPE = re.compile(r"(?:\+|00)[0-9 ()./\-]{4,40}")
_E164 = re.compile(r"\+([1-9][0-9]{6,14})")
_COUNTRY_CODE_MAX_DIGITS: Final = 3
_PHONE_PASSES: Final = 4


def _phone(value: str) -> str:
    if _E164.fullmatch(value) and _is_e164_already(value[1:]):
        return value
    return _phone_by_library(value)


@lru_cache(maxsize=16_384)
def _phone_by_library(value: str) -> str:
    # NFKC turns full-width digits and no-break spaces into their plain forms. Letters are refused: the library
    # would read them as keys of a telephone, and an extension names a desk, not a number that can be called.
    plain = unicodedata.normalize("NFKC", value).strip()
    if not _PHONE_SHAPE.fullmatch(plain):
        raise IdentifierError("not a phone number in international format")
    if plain.startswith("00"):
        plain = "+" + plain[2:]
    # The library strips one trunk prefix at a time; the form is reached when nothing changes any more.
    for _ in range(_PHONE_PASSES):
        plain, before = _parse_phone(plain), plain
        if plain == before:
            return plain
    raise IdentifierError("not a phone number in international format")


def _parse_phone(value: str) -> str:
    try:
        number = phonenumbers.parse(value, None)
    except phonenumbers.NumberParseException:
        raise IdentifierError("not a phone number in international format") from None
    if not phonenumbers.is_possible_number(number):
        raise IdentifierError("not a possible phone number of its country")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _is_e164_already(digits: str) -> bool:
    """Tell whether the library would surely return these digits unchanged; False leaves it to the library."""
    for length in range(1, _COUNTRY_CODE_MAX_DIGITS + 1):
        if int(digits[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return digits[length] != "0" and len(digits) - length in _plain_lengths(int(digits[:length]))
    return False


@lru_cache(maxsize=512)
def _plain_lengths(country_code: int) -> frozenset[int]:
    """Give the possible lengths of national numbers where a leading 0 is all that is ever stripped."""
    region = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[country_code][0]
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or metadata.general_desc is None or metadata.national_prefix_for_parsing not in (None, "0"):
        return frozenset()
    return frozenset(metadata.general_desc.possible_length)


# -- the others


def _postal(value: str) -> str:
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", value).upper())
    return _as_given(" ".join(folded.split()))


def _as_given(value: str) -> str:
    value = value.strip()
    if not value:
        raise IdentifierError("empty")
    if _UNFIT.search(value):
        raise IdentifierError("control characters")
    return value


_RULES: Final[dict[str, Callable[[str], str]]] = {
    "email": _email,
    "phone": _phone,
    "postal": _postal,
    "customer_no": _as_given,
    "account_id": _as_given,
    "device": _as_given,
}
