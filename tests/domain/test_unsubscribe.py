"""Tokens of unsubscribe links.

Seen to fail: a token that opens after a bit was flipped (tag not checked: the plaintext in base64 alone); the address
readable in the token; a token of one controller opened under another's name; a withdrawal for a purpose on legitimate
interest; a group-wide objection; an exception for a token that is no base64; a key shown by repr.
"""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.client import BadKeyError, UnsubscribeLinks, load_token_keys
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.unsubscribe import KEY_BYTES, Claim, TokenKey, headers, kid_of, open_token, refusal, seal


def token_key(controller: str = "shop-be", kid: str = "00112233aabbccdd") -> TokenKey:
    return TokenKey(controller=controller, kid=kid, key=secrets.token_bytes(KEY_BYTES))


KEY = token_key()
KEYS = {KEY.kid: KEY}
names = st.text(st.characters(categories=["L", "N"], include_characters="-"), min_size=1, max_size=40)


def sealed(address: str = "an@example.be", key: TokenKey = KEY) -> str:
    return seal(key, purpose="newsletter", channel="email", address=address)


@given(purpose=names, local=st.from_regex(r"[a-z0-9.+]{1,20}x", fullmatch=True))
def test_what_was_sealed_is_what_opens(purpose: str, local: str) -> None:
    local = "x" + local.replace(".", "-")
    token = seal(KEY, purpose=purpose, channel="email", address=f" {local.upper()}@Example.BE")

    assert open_token(token, KEYS.get) == Claim(
        controller="shop-be", purpose=purpose, channel="email", address=f"{local}@example.be"
    )


def test_a_token_shows_nothing_and_is_short_enough_for_a_header() -> None:
    token = sealed()

    assert token.isascii()
    assert len(token) < 120
    assert not {"an@", "newsletter", "shop-be"} & {token[i : i + n] for i in range(len(token)) for n in (3, 7, 10)}
    assert b"example" not in __import__("base64").urlsafe_b64decode(token + "==")


@given(st.data())
def test_a_token_that_was_altered_anywhere_opens_no_more(data: st.DataObject) -> None:
    token = sealed()
    at = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda one: one != token[at]))

    assert open_token(token[:at] + other + token[at + 1 :], KEYS.get) is None


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_whatever_stands_in_a_link_is_no_error(junk: str) -> None:
    assert open_token(junk, KEYS.get) is None
    assert open_token("AQ" + junk, lambda _: KEY) is None
    assert kid_of(junk) != KEY.kid


def test_a_token_speaks_for_the_controller_of_its_key_and_no_other() -> None:
    of_another = TokenKey(controller="garage-be", kid=KEY.kid, key=KEY.key)

    assert open_token(sealed(), {KEY.kid: of_another}.get) is None


def test_tokens_of_old_keys_open_beside_those_of_new_ones() -> None:
    newer = token_key(kid="ffffffffffffffff")
    both = {**KEYS, newer.kid: newer}

    opened = [open_token(sealed(key=key), both.get) for key in (KEY, newer)]

    assert opened[0] == opened[1] is not None
    assert open_token(sealed(key=newer), KEYS.get) is None


def test_nothing_is_sealed_that_is_no_address_or_over_a_channel_without() -> None:
    with pytest.raises(IdentifierError):
        sealed("nobody")
    with pytest.raises(ValueError, match="channel"):
        seal(KEY, purpose="newsletter", channel="media", address="an@example.be")


CLAIM = Claim(controller="shop-be", purpose="newsletter", channel="email", address="an@example.be")


@pytest.mark.parametrize("basis", ["consent", None])
def test_on_consent_or_where_nobody_can_tell_it_is_a_withdrawal(basis: str | None) -> None:
    kind, data = refusal(CLAIM, basis, "list-unsubscribe")

    assert kind == "consent-withdrawn"
    assert data == {
        "controllers": ["shop-be"],
        "controller_scope": "entity",
        "subject": [{"type": "email", "value": "an@example.be"}],
        "purposes": ["newsletter"],
        "channels": ["email"],
        "received_via": "list-unsubscribe",
    }


def test_on_legitimate_interest_it_is_an_objection_to_this_marketing_of_this_entity() -> None:
    kind, data = refusal(CLAIM, "legitimate-interest", "mailto")

    assert kind == "objection-raised"
    assert (data["kind"], data["controller_scope"], data["purposes"]) == ("direct-marketing", "entity", ["newsletter"])


def test_a_tool_makes_the_two_headers_from_its_export() -> None:
    import base64  # noqa: PLC0415 - what `consent keys export` prints, and nothing else here

    secret = base64.b64encode(KEY.key).decode()
    export = {"controller": "shop-be", "unsubscribe": {"kid": KEY.kid, "alg": "AES-256-SIV", "key": secret}}
    links = UnsubscribeLinks(load_token_keys(export)["shop-be"], "https://c.example/", mailto="unsubscribe@c.example")

    made = links.headers(purpose="newsletter", address="an@example.be")

    token = sealed()
    assert made == {
        "List-Unsubscribe": f"<https://c.example/u/{token}>, <mailto:unsubscribe@c.example?subject={token}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert links.link(purpose="newsletter", address="an@example.be") == f"https://c.example/u/{token}"


@pytest.mark.parametrize("alg", ["AES-256-SIV", "none"])
def test_what_is_no_export_is_said_without_showing_it(alg: str) -> None:
    export = {"controller": "c", "unsubscribe": {"kid": "00", "alg": alg, "key": "c2VjcmV0"}}

    with pytest.raises(BadKeyError) as caught:
        load_token_keys(export)

    assert "c2VjcmV0" not in str(caught.value)


def test_a_link_for_mail_is_encrypted_and_a_key_is_never_shown() -> None:
    with pytest.raises(ValueError, match="https"):
        headers("http://c.example", "token")
    assert KEY.key.hex() not in repr(KEY)
    assert str(KEY.key) not in repr(KEY)
