"""A request belongs to the first stream all of whose criteria it meets.

Seen to fail: criteria taken for alternatives; a domain that takes in those below it; upper case, or another spelling
of a domain, taken for another sender; the sender's tag left on; the last stream that fits taken.
"""

import msgspec
import pytest

from client.topic import SHOP
from consent_ledger.connectors.postfix.settings import Stream
from consent_ledger.connectors.postfix.streams import Streams


def found(attributes: dict[str, str], *criteria: dict[str, list[str]]) -> str | None:
    """The purpose of the stream that a request belongs to; purposes are the places of the criteria."""
    streams = [
        msgspec.convert({"controller": SHOP, "purpose": str(place), **one}, Stream)
        for place, one in enumerate(criteria)
    ]
    stream = Streams(streams).find(attributes)
    return None if stream is None else stream.purpose


@pytest.mark.parametrize(
    ("pattern", "sender", "belongs"),
    [
        ("news@shop.example", "news@shop.example", True),
        ("news@shop.example", "News@SHOP.example", True),
        ("news@shop.example", "news+march@shop.example", True),
        ("news+march@shop.example", "news+april@shop.example", True),
        ("news@shop.example", "xnews@shop.example", False),
        ("news@shop.example", "news@mail.shop.example", False),
        ("shop.example", "anybody@Shop.example", True),
        ("shop.example", "anybody@mail.shop.example", False),
        ("shop.example", "anybody@workshop.example", False),
        (".shop.example", "anybody@mail.shop.example", True),
        (".shop.example", "anybody@shop.example", False),
        ("müller.example", "anybody@xn--mller-kva.example", True),
        ("jérôme@müller.example", "JÉRÔME@xn--mller-kva.example", True),
        ("news@mailer.local", "news@mailer.local", True),
        ("mailer", "news@mailer", True),
        ("shop.example", "", False),
    ],
)
def test_senders_are_known_in_every_spelling(pattern: str, sender: str, belongs: bool) -> None:  # noqa: FBT001
    stream = found({"sender": sender}, {"sender": [pattern]})

    assert (stream is not None) is belongs


@pytest.mark.parametrize(
    ("sender", "belongs"),
    [
        ("bounce+news@shop.example", True),
        ("bounce+News+an=example.be@shop.example", True),
        ("bounce+newsletter@shop.example", False),
        ("bounce@shop.example", False),
        ("news@shop.example", False),
    ],
)
def test_a_class_of_mail_is_known_by_the_senders_tag(sender: str, belongs: bool) -> None:  # noqa: FBT001
    stream = found({"sender": sender}, {"tag": ["news"]})

    assert (stream is not None) is belongs


@pytest.mark.parametrize(
    ("client", "belongs"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_clients_are_known_by_their_network(client: str, belongs: bool) -> None:  # noqa: FBT001
    stream = found({"client_address": client}, {"client_address": ["192.0.2.0/24", "2001:db8::/32"]})

    assert (stream is not None) is belongs


def test_all_criteria_must_be_met() -> None:
    both = {"sasl_username": ["Campaigns"], "sender": ["news@shop.example", "offers@shop.example"]}

    of_both = found({"sasl_username": "campaigns", "sender": "offers@shop.example"}, both)
    of_another_login = found({"sasl_username": "shop", "sender": "offers@shop.example"}, both)
    of_another_sender = found({"sasl_username": "campaigns", "sender": "invoices@shop.example"}, both)

    assert (of_both, of_another_login, of_another_sender) == ("0", None, None)


def test_the_first_stream_that_fits_is_taken() -> None:
    news = "news@shop.example"

    stream = found({"sender": news}, {"tag": ["x"]}, {"sender": [news]}, {"sender": ["shop.example"]})

    assert stream == "1"
