"""What a mail that came back is understood to say.

Seen to fail: a delayed mail taken for a failed one; a full mailbox for a hard bounce; a temporary failure for a
permanent one; "not-spam" for a complaint; a bounced bounce read instead of the bounce; a bounce kept without a
controller; an absence notice to the bounce address taken for an unsubscription; the forwarder's address bound instead
of the token's; the second recipient of a report dropped; an unreadable recipient dropped in silence; an unsubscription
without a token dropped; an event id from a random number; a header that the library cannot parse raised.
"""

import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.domain.inbound import Reading, read
from consent_ledger.domain.unsubscribe import KEY_BYTES, TokenKey
from inbound.mails import KNOWN, arf, block, dsn, encoded, mail, original, token

UNSUBSCRIBE = "unsubscribe@lists.example"


def told(raw: bytes, *recipients: str) -> list[tuple[str, dict[str, Any]]]:
    reading = read(raw, KNOWN, recipients)
    assert reading.aside is None, reading.aside
    return [(one.type, one.data) for one in reading.told]


def who(data: dict[str, Any]) -> str:
    (identifier,) = data["subject"]
    assert identifier["type"] == "email"
    return str(identifier["value"])


# -- failed deliveries


@pytest.mark.parametrize(
    ("status", "more", "bounce"),
    [
        ("5.1.1", "", "hard"),
        ("5.7.1", "", "hard"),
        ("5.0.0", "", "hard"),
        ("5.2.2", "", "soft"),
        ("5.0.0", "Diagnostic-Code: smtp; 552 5.2.2 mailbox full\r\n", "soft"),
        ("5.3.4", "", "soft"),
        ("4.4.7", "", "soft"),
        ("4.2.2", "Diagnostic-Code: smtp; 452 4.2.2 full\r\n", "soft"),
        ("?", "Diagnostic-Code: smtp; 550 no such user\r\n", "hard"),
        ("?", "", "hard"),
    ],
)
def test_what_failed_for_good_is_hard_and_what_may_pass_is_soft(status: str, more: str, bounce: str) -> None:
    ((kind, data),) = told(dsn(block(status=status, more=more)))

    assert (kind, data["bounce"], data["channels"]) == ("delivery-failed", bounce, ["email"])
    assert data["controllers"] == ["garage-be"]
    assert who(data) == "an@example.be"


@pytest.mark.parametrize(
    ("action", "status"),
    [("delayed", "4.4.1"), ("delivered", "2.0.0"), ("relayed", "2.0.0"), ("expanded", "2.1.5"), ("Delayed ", "4.0.0")],
)
def test_what_did_not_fail_says_nothing(action: str, status: str) -> None:
    assert told(dsn(block(action=action, status=status))) == []


def test_every_recipient_of_a_report_is_told() -> None:
    found = told(dsn(block("an@example.be"), block("bo@example.be", "4.4.7"), block("cy@example.be", action="delayed")))

    assert [(who(data), data["bounce"]) for _, data in found] == [("an@example.be", "hard"), ("bo@example.be", "soft")]


def test_the_address_as_the_sender_wrote_it_goes_before_the_one_where_it_ended() -> None:
    ((_, data),) = told(dsn(block("x17@host.example", more="Original-Recipient: rfc822;<An@Example.be>\r\n")))

    assert who(data) == "an@example.be"


def test_a_token_in_the_returned_mail_tells_address_and_controller() -> None:
    about = original(sealed=token())
    for about_type in ("text/rfc822-headers", "message/rfc822"):
        ((_, data),) = told(dsn(block("forwarded@other.example"), about=about, to="x@y.example", about_type=about_type))

        assert (who(data), data["controllers"]) == ("an@example.be", ["shop-be"])


def test_a_token_in_the_address_that_bounces_go_to_does_as_well() -> None:
    ((_, by_header),) = told(dsn(block(), to=f"bounce+{token()}@lists.example"))
    ((_, by_envelope),) = told(dsn(block(), to="x@y.example"), f"bounce+{token()}@lists.example")

    assert by_header["controllers"] == by_envelope["controllers"] == ["shop-be"]


def test_a_tag_after_a_plus_makes_no_other_mailbox() -> None:
    ((_, data),) = told(dsn(block(), to="Bounce+something@lists.example"))

    assert data["controllers"] == ["garage-be"]


def test_a_bounce_that_nobody_can_place_is_set_aside() -> None:
    reading = read(dsn(block(), to="x@y.example"), KNOWN)

    assert (reading.told, reading.aside) == ((), "NO_CONTROLLER")


def test_what_cannot_be_read_of_a_report_is_set_aside_and_the_rest_counts() -> None:
    reading = read(dsn(block("an@example.be"), block("not an address")), KNOWN)

    assert [who(one.data) for one in reading.told] == ["an@example.be"]
    assert reading.aside == "NO_ADDRESS"


def test_a_report_in_base64_or_with_addresses_beyond_ascii_is_read_too() -> None:
    ((_, by_base64),) = told(encoded(dsn(block())))
    beyond = dsn(block("jürgen@example.de")).replace(b"message/delivery-status", b"message/global-delivery-status")
    ((_, by_global),) = told(beyond.replace(b"rfc822; j", b"utf-8; j"))

    assert who(by_base64) == "an@example.be"
    assert who(by_global) == "jürgen@example.de"
    assert read(dsn(block("jürgen@example.de")).replace(b"\xc3\xbc", b"\xfc"), KNOWN).aside == "NO_ADDRESS"


def test_a_report_within_the_returned_mail_is_none() -> None:
    inner = dsn(block("inner@example.be")).decode()
    found = told(dsn(block("outer@example.be"), about=inner, about_type="message/rfc822"))

    assert [who(data) for _, data in found] == ["outer@example.be"]


# -- complaints


def test_a_complaint_with_a_token_names_its_address_and_controller() -> None:
    about = original("redacted@provider.example", sealed=token())
    ((kind, data),) = told(arf("Original-Rcpt-To: <other@example.be>\r\n", about, about_type="message/rfc822"))

    assert kind == "complaint-received"
    assert data == {
        "subject": [{"type": "email", "value": "an@example.be"}],
        "channels": ["email"],
        "kind": "feedback-loop",
        "controllers": ["shop-be"],
    }


def test_without_a_token_the_report_names_the_address_and_everyone_may_be_meant() -> None:
    by_report = told(arf("Original-Rcpt-To: <An@example.be>\r\n", original("x@example.be")))
    by_mail = told(arf("", original("bo@example.be")))

    assert [who(data) for _, data in by_report] == ["an@example.be"]
    assert [who(data) for _, data in by_mail] == ["bo@example.be"]
    assert "controllers" not in by_report[0][1]


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "Not-Spam"])
def test_feedback_that_is_no_complaint_says_nothing(kind: str) -> None:
    assert told(arf("Original-Rcpt-To: an@example.be\r\n", original(), kind=kind)) == []


def test_a_complaint_about_nobody_is_set_aside() -> None:
    assert read(arf("Original-Rcpt-To: redacted\r\n"), KNOWN) == Reading(
        aside="NO_ADDRESS", received_at=datetime(2026, 3, 2, 9, tzinfo=UTC)
    )


# -- unsubscriptions by mail


def test_a_token_in_the_subject_or_the_address_is_the_same_as_a_click() -> None:
    by_subject = told(mail(to=UNSUBSCRIBE, subject=token(), sender="someone@else.example"))
    by_address = told(mail(to=f"unsubscribe+{token()}@lists.example", sender="someone@else.example"))
    by_envelope = told(mail(to="x@y.example"), f"unsubscribe+{token()}@lists.example")
    objection = told(mail(to=UNSUBSCRIBE, subject=token(purpose="offers")))

    assert by_subject == by_address == by_envelope
    ((kind, data),) = by_subject
    assert (kind, who(data), data["purposes"]) == ("consent-withdrawn", "an@example.be", ["newsletter"])
    assert (data["controllers"], data["received_via"]) == (["shop-be"], "mailto")
    assert [kind for kind, _ in objection] == ["objection-raised"]


def test_without_a_token_that_opens_the_sender_unsubscribes_from_everyone_it_may_mean() -> None:
    strange = TokenKey(controller="shop-be", kid="ffffffffffffffff", key=secrets.token_bytes(KEY_BYTES))

    for subject in ("stop", "", token(key=strange)):
        ((kind, data),) = told(mail(to="Unsubscribe@Lists.example", subject=subject))

        assert (kind, who(data), data["kind"]) == ("objection-raised", "an@example.be", "direct-marketing")
        assert "controllers" not in data
        assert "purposes" not in data


def test_an_absence_notice_is_no_unsubscription() -> None:
    notice = mail(to=f"bounce+{token()}@lists.example", subject="Out of office", Auto_Submitted="auto-replied")
    to_list = mail(to=UNSUBSCRIBE, subject="Out of office", Auto_Submitted="auto-replied")

    assert read(notice, KNOWN).told == read(to_list, KNOWN).told == ()
    assert read(to_list, KNOWN).aside == "AUTOMATIC"


def test_other_mail_is_set_aside() -> None:
    assert read(mail(to="info@lists.example", subject="unsubscribe me"), KNOWN).aside == "NOT_UNDERSTOOD"
    assert read(mail(to=UNSUBSCRIBE, sender="nobody"), KNOWN).aside == "NO_ADDRESS"
    assert read(b"", KNOWN).aside is not None


# -- ids, times, junk


def test_the_same_mail_gives_the_same_ids_and_another_mail_others() -> None:
    twice = [read(dsn(block("an@example.be"), block("bo@example.be")), KNOWN) for _ in range(2)]
    other = read(dsn(block("an@example.be")).replace(b"r1@mx", b"r2@mx"), KNOWN)
    nameless = [read(mail(to=UNSUBSCRIBE, text=text).replace(b"Message-ID", b"X-Was"), KNOWN) for text in "aab"]

    assert twice[0] == twice[1]
    assert len({one.id for reading in (*twice, other) for one in reading.told}) == 3
    assert nameless[0].told == nameless[1].told != nameless[2].told


def test_it_was_received_when_our_own_server_says() -> None:
    raw = dsn(block())
    forged = raw.replace(b"From: MAILER", b"Received: from y by x; Mon, 5 Mar 2029 10:00:00 +0100\r\nFrom: MAILER", 1)

    assert read(forged, KNOWN).received_at == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert read(raw.replace(b"2026 10:00:00 +0100", b"soon"), KNOWN).received_at is None
    assert read(mail(to=UNSUBSCRIBE), KNOWN).received_at is None


@pytest.mark.parametrize("raw", [b'To: "\r\n\r\n@<,', b"To:  .:\r\n\r\n"])
def test_headers_on_which_the_library_fails_are_set_aside(raw: bytes) -> None:
    aside = read(raw, KNOWN).aside

    assert aside is not None
    assert aside.startswith(("UNREADABLE", "NOT_UNDERSTOOD"))


SAMPLES = [
    dsn(block(), block("bo@example.be"), about=original(sealed=token())),
    arf("Original-Rcpt-To: an@example.be\r\n", original(sealed=token()), about_type="message/rfc822"),
    mail(to=f"unsubscribe+{token()}@lists.example", subject=token()),
]


@given(st.binary(max_size=500) | st.text(max_size=500).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_junk_is_set_aside_and_never_an_error(junk: bytes) -> None:
    reading = read(junk, KNOWN)

    assert reading.told or reading.aside


@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_mail_is_never_an_error(sample: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, min(len(sample), start + 40)))
    hurt = sample[:start] + data.draw(st.binary(max_size=20)) + sample[end:]

    for one in read(hurt, KNOWN).told:
        assert one.data["subject"]
        assert one.type in {"delivery-failed", "complaint-received", "consent-withdrawn", "objection-raised"}
