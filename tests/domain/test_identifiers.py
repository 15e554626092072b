"""Identifiers have one form each, and what has none is kept for refusals only.

Seen to fail: a plain address returned as it was given; "--" in a domain passed over; the reserved endings not asked;
two dots in a row let through; an ending that begins with a hyphen let through; the longest plain address made
longer; the check of a leading 0 removed from the phone's plain path; NFC left out after lower case;
NFKC removed from phones; one pass instead of several over phones; `_UNFIT` not applied to raw values.
"""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consent_ledger.domain import identifiers
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.identifiers import TYPES, normalise, normalise_or_raw

LOCAL = string.ascii_letters + string.digits + "._+-'!@ "
plain_locals = st.text(LOCAL, min_size=1, max_size=20)
plain_domains = st.lists(st.text("aBz09-xn", min_size=1, max_size=8), min_size=1, max_size=4).map(".".join)
endings = st.sampled_from(
    ["be", "example", "com", "test", "local", "invalid", "onion", "c0", "0", "x-", "-x", "XN--P1AI"]
)
addresses = st.builds("{}@{}.{}".format, plain_locals, plain_domains, endings)
numbers = st.builds(
    "+{}{}".format, st.sampled_from([*range(1, 100), *range(210, 1000)]), st.text("0123456789", max_size=13)
)


def outcome(rule: object, *arguments: str) -> str:
    try:
        return str(rule(*arguments))  # type: ignore[operator]
    except IdentifierError:
        return "refused"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("an@example.be", "an@example.be"),
        ("  An@Example.BE\n", "an@example.be"),
        ("An.De.Smet+news@GMail.com", "an.de.smet+news@gmail.com"),
        ("an@bücher.example.de", "an@xn--bcher-kva.example.de"),
        ("an@XN--BCHER-KVA.example.de", "an@xn--bcher-kva.example.de"),
        ("JOSÉ@example.be", "josé@example.be"),
        ("JOSE\u0301@example.be", "josé@example.be"),
        ("J\u030cAN@example.be", "\u01f0an@example.be"),
        ("info@EXAMPLE.com", "info@example.com"),
    ],
)
def test_an_email_address_has_one_form(given: str, normal: str) -> None:
    assert normalise("email", given) == normal


@pytest.mark.parametrize(
    "value",
    ["", "an", "an@", "@example.be", "an@@example.be", "an@example", "an@example..be", "an@-example.be",
     "an @example.be", "An <an@example.be>", "an@[192.0.2.1]", "an@example.be\x00", "an\n@example.be", "an@localhost",
     "a" * 250 + "@example.be", "an@xn--0.be", "\ud800@example.be"],
)  # fmt: skip
def test_what_is_no_email_address_is_refused(value: str) -> None:
    with pytest.raises(IdentifierError):
        normalise("email", value)


@given(addresses)
@example("a--b@c.be")
@example("a..b@c.be")
@example("@c.be")
@example("a")
@example("a@b@c.be")
@example("A@B.BE\n")
@example("a@b--c.be")
@example("a@bc--d.be")
@example("a@1.be")
@example("a@b.c-d")
@example("a@b.-d")
@example("a" * 62 + "@b.be")
@example("a@" + "b" * 64 + ".be")
def test_the_short_way_of_an_email_address_ends_where_the_library_does(address: str) -> None:
    assert outcome(normalise, "email", address) == outcome(identifiers._email_by_library, address.strip())


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("+32470112233", "+32470112233"),
        (" +32 (0)470 11 22 33 ", "+32470112233"),
        ("0032 470/11.22.33", "+32470112233"),
        ("+320470112233", "+32470112233"),
        ("+31-6-12345678", "+31612345678"),
        ("+32\u00a0470\u00a011\u00a022\u00a033", "+32470112233"),
        ("\uff0b32470112233", "+32470112233"),
        ("+390612345678", "+390612345678"),
        ("+1 202 555 0123", "+12025550123"),
    ],
)
def test_a_phone_number_is_kept_as_e164(given: str, normal: str) -> None:
    assert normalise("phone", given) == normal


@pytest.mark.parametrize(
    "value",
    ["", "0470112233", "470112233", "+", "+32", "+32470", "+999123456789", "+32 470 11 22 33 ext. 5", "+32470ABCDEF",
     "+3247011223344556677", "tel", "+32470112233\x00"],
)  # fmt: skip
def test_what_is_no_international_phone_number_is_refused(value: str) -> None:
    with pytest.raises(IdentifierError):
        normalise("phone", value)


@given(numbers)
@example("+320470112233")
@example("+310612345678")
@example("+8001234567")
@example("+441212345678")
@example("+352150612345")
def test_the_short_way_of_a_phone_number_ends_where_the_library_does(number: str) -> None:
    assert outcome(normalise, "phone", number) == outcome(identifiers._phone_by_library, number)


@given(numbers)
@example("+310087755741")
def test_a_phone_number_once_normalised_stays(number: str) -> None:
    normal = outcome(normalise, "phone", number)

    assert normal == "refused" or normalise("phone", normal) == normal


def test_a_postal_address_is_folded_to_upper_case_and_single_spaces() -> None:
    said = " 1930  Zaventem,\n Leuvensesteenweg 1 bus é "

    assert normalise("postal", said) == "1930 ZAVENTEM, LEUVENSESTEENWEG 1 BUS É"


@pytest.mark.parametrize("type", ["customer_no", "account_id", "device"])
def test_other_identifiers_are_as_given(type: str) -> None:
    assert normalise(type, " C-1 a ") == "C-1 a"


@pytest.mark.parametrize("type", ["customer_no", "account_id", "device", "postal"])
@pytest.mark.parametrize("value", ["", "  ", "a\x00b", "a\x1bb", "\udfff", "x" * 501])
def test_empty_long_and_control_characters_are_refused(type: str, value: str) -> None:
    with pytest.raises(IdentifierError):
        normalise(type, value)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(IdentifierError):
        normalise("fax", "+32470112233")


@given(
    st.sampled_from(TYPES),
    st.one_of(st.text(max_size=40), addresses, st.builds("{}@example.be".format, st.text(max_size=12))),
)
@example("email", "İ@example.be")
@example("email", "ẞ\u0323\u0307@example.be")
@example("postal", "ŉ \u0390")
@example("postal", "\u0345\u0301")
def test_normalising_again_changes_nothing(type: str, value: str) -> None:
    try:
        normal = normalise(type, value)
    except IdentifierError:
        return

    assert normalise(type, normal) == normal


@given(st.sampled_from(TYPES), st.text(min_size=6, max_size=40))
def test_no_error_tells_the_value(type: str, value: str) -> None:
    raised: IdentifierError | None = None
    try:
        normalise(type, value)
    except IdentifierError as error:
        raised = error

    assert raised is None or (value not in str(raised) and raised.__cause__ is None)


@pytest.mark.parametrize(
    ("type", "value", "expected"),
    [
        ("email", "An@Example.be", ("an@example.be", False)),
        ("email", "an@example.be\x00", ("an@example.be", False)),
        ("email", " not an address\x00 ", ("not an address", True)),
        ("phone", "0470 11 22 33", ("0470 11 22 33", True)),
        ("customer_no", "\x00", ("", True)),
        ("device", "\ud800d-1", ("d-1", False)),
    ],
)
def test_a_refusal_keeps_a_value_that_has_no_form_raw(type: str, value: str, expected: tuple[str, bool]) -> None:
    assert normalise_or_raw(type, value) == expected


@given(st.sampled_from(TYPES), st.text(max_size=40))
def test_a_raw_value_is_found_again_by_asking_with_it(type: str, value: str) -> None:
    first, raw = normalise_or_raw(type, value)

    assert normalise_or_raw(type, first) == (first, raw)
