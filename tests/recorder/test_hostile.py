"""Whatever comes over Kafka, nothing is dropped: it is an entry, a duplicate, or kept untouched in quarantine.

A malformed refusal suppresses at once, in the widest sense, by whatever addresses can be read. The cases are published
to a real broker and taken by a real recorder, once as a permission and once as a refusal.

Seen to fail: the key left out of what is kept; a null value kept as an empty one; header keys and values kept as
text; a malformed refusal not kept; a doubtful entry not kept; registers and events taken from any topic; 51 addresses
bound; a soft bounce taken for one of the five refusals; the id of a refusal without one made at random; nobody said
to have entered the synthetic objection; a header key that is not UTF-8 left to the client library.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as producer_module
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from builders import email, encode, event, given, linked, objected, withdrawn
from recorder.reading import hashes, kept_record, opened_payloads, outcome, require_balance, subjects
from running import Headers, Installation, Place

NOON_OF_2019_07_01_MS = 1_561_982_400_000
LIMIT_BYTES = 2**20


class RawKey(str):
    """A header key that goes over the wire as bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


class Case(NamedTuple):
    """How an event is spoiled, what becomes of a permission and of a refusal, and why."""

    spoil: Callable[[dict[str, Any]], bytes]
    permission: str
    refusal: str
    reason: str | None


def with_data(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda said: encode({**said, "data": {**said["data"], **fields}})


def with_attributes(**attributes: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda said: encode({**said, **attributes})


def without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda said: encode({key: value for key, value in said.items() if key != name})


def many_identifiers(said: dict[str, Any]) -> bytes:
    others = [email(f"other{number}@example.be") for number in range(9_999)]
    return with_data(subject=[*said["data"]["subject"], *others])(said)


def nested(said: dict[str, Any]) -> bytes:
    return encode(said).replace(b'"subject"', b'"more": ' + b"[" * 5_000 + b"]" * 5_000 + b', "subject"')


MALFORMED = {
    "not UTF-8": Case(lambda said: encode(said)[:-2] + b', "more": "\xff"}}', "rejected", "synthetic", "NOT_UTF8"),
    "a missing id": Case(without("id"), "rejected", "synthetic", "MISSING_ID"),
    "an id that is no UUID": Case(with_attributes(id="order-4711"), "rejected", "synthetic", "BAD_ID"),
    "a time without zone": Case(with_attributes(time="2026-03-01T09:00:00"), "rejected", "synthetic", "BAD_TIME"),
    "deep nesting": Case(nested, "rejected", "synthetic", "TOO_DEEP"),
    "numbers as strings": Case(with_data(schema_version="1"), "rejected", "synthetic", "BAD_FIELD"),
    "10,000 identifiers": Case(many_identifiers, "rejected", "synthetic", "TOO_MANY_IDENTIFIERS"),
    "a NUL character": Case(with_data(entered_by="a\0b"), "rejected", "synthetic", "NUL"),
    "a lone surrogate": Case(with_data(entered_by="\ud800"), "rejected", "synthetic", "SURROGATE"),
    "duplicate keys": Case(
        lambda said: encode(said).replace(b'"subject"', b'"subject": [], "subject"'),
        "rejected",
        "synthetic",
        "DUPLICATE_KEY",
    ),
    "not JSON": Case(lambda said: encode(said)[:-1], "rejected", "rejected", "NOT_JSON"),
    "empty": Case(lambda _: b"", "rejected", "rejected", "NOT_JSON"),
    "an unknown type": Case(with_attributes(type="consent-taken"), "rejected", "rejected", "UNKNOWN_TYPE"),
    "another topic's type": Case(with_attributes(type="register-loaded"), "rejected", "rejected", "BAD_FIELD"),
}
ODD = {
    "an unknown source": with_attributes(source="web:nobody"),
    "the year 9999": with_attributes(time="9999-12-31T23:59:59.999999Z"),
    "the year 1": with_attributes(time="0001-01-01T00:00:00Z"),
    "the year 1 in a zone where it is still the year 0": with_attributes(time="0001-01-01T00:00:00+14:00"),
    "more fields than we know": with_data(more={"numbers": [1, 2.5, None]}),
}
HEADERS: dict[str, Headers] = {
    "null header values": [("content-type", None), ("ce_id", None), ("", None)],
    "non-UTF-8 header values": [("content-type", b"\xff\xfe"), ("ce_type", b"\x80"), ("trace", b"\xc3\x28")],
    "a non-UTF-8 header key": [(RawKey("x"), b"\x00")],
}
DECLARATIONS = {"permission": given, "refusal": withdrawn}


def address() -> str:
    """One that no other test uses."""
    return f"{uuid.uuid4().hex}@example.be"


@contextmanager
def raw_header_keys() -> Iterator[None]:
    """Only the pure Python builder leaves the encoding of a header key to the key."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (producer_module, message_accumulator):
            patch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        yield


async def take(home: Installation, said: Any, **options: Any) -> Place:
    with raw_header_keys():
        place = await home.publish(said, **options)
    await home.recorded(place)
    return place


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_permission_is_rejected_and_kept(home: Installation, case: Case) -> None:
    said = case.spoil(given(email(address())))

    place = await take(home, said, key=b"\xff key", headers=[("trace", b"1")])

    became = await outcome(home, place)
    assert (became.became, became.reason) == (case.permission, case.reason)
    assert (await kept_record(home, place))[:3] == (b"\xff key", said, [["trace", b"1"]])


@pytest.mark.parametrize("declare", [withdrawn, objected], ids=["consent-withdrawn", "objection-raised"])
@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_refusal_that_can_be_read_binds_its_addresses_everywhere(
    home: Installation, case: Case, declare: Callable[..., dict[str, Any]]
) -> None:
    who = address()
    said = case.spoil(declare(email(who)))

    place = await take(home, said)

    became = await outcome(home, place)
    assert (became.became, became.reason) == (case.refusal, case.reason)
    assert (await kept_record(home, place))[1] == said
    if case.refusal == "synthetic":
        assert became.entry is not None
        assert became.quarantined is not None
        assert (became.entry["type"], became.quarantined["pos"]) == ("objection-raised", became.entry["pos"])
        assert became.body.keys() == {"source", "malformed", "personal"}
        known = await hashes(home, "email", who)
        found = await subjects(home, place)
        # Whomever the source serves, and for an objection the group of a shop that objects as a group.
        assert {controller: bound[0] for controller, bound in found.items()} == {
            controller: known[controller] for controller in ("shop-be", "shop-nl")
        }
        payloads = await opened_payloads(home, place)
        assert payloads.keys() == {"shop-be"}
        assert b'"entered_by":"ledger"' in payloads["shop-be"]


@pytest.mark.parametrize("declare", DECLARATIONS.values(), ids=DECLARATIONS.keys())
@pytest.mark.parametrize("spoil", ODD.values(), ids=ODD.keys())
async def test_what_is_odd_but_clear_is_an_entry(
    home: Installation, spoil: Callable[[dict[str, Any]], bytes], declare: Callable[..., dict[str, Any]]
) -> None:
    who = address()

    place = await take(home, spoil(declare(email(who))))

    assert (await outcome(home, place)).became == "entry"
    known = await hashes(home, "email", who)
    assert (await subjects(home, place))["shop-be"] == [known["shop-be"]]


@pytest.mark.parametrize("declare", DECLARATIONS.values(), ids=DECLARATIONS.keys())
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
async def test_headers_that_cannot_be_read_do_not_stop_an_event(
    home: Installation, headers: Headers, declare: Callable[..., dict[str, Any]]
) -> None:
    place = await take(home, declare(email(address())), headers=headers)

    assert (await outcome(home, place)).became == "entry"


async def test_what_is_rejected_is_kept_with_the_very_bytes_of_its_headers(home: Installation) -> None:
    headers = [("null", None), ("bytes", b"\xff"), ("twice", b"1"), ("twice", b"2"), (RawKey("x"), b"\x00")]

    place = await take(home, b"\xff not JSON \x00", key=b"", headers=headers)

    key, value, kept, _ = await kept_record(home, place)
    assert (key, value) == (b"", b"\xff not JSON \x00")
    assert kept == [["null", None], ["bytes", b"\xff"], ["twice", b"1"], ["twice", b"2"], [b"\xff\xfe", b"\x00"]]


async def test_a_record_without_value_is_rejected(home: Installation) -> None:
    place = await take(home, None, key=b"key")

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("rejected", "NULL_VALUE")
    assert (await kept_record(home, place))[:2] == (b"key", None)


async def test_a_body_over_the_limit_is_refused_by_the_broker_and_nothing_is_recorded(home: Installation) -> None:
    end = (await home.ends([1]))[1]

    with pytest.raises(MessageSizeTooLargeError):
        await home.publish(withdrawn(reason="x" * LIMIT_BYTES))

    assert (await home.ends([1]))[1] == end


async def test_a_body_just_within_the_limit_is_kept_whole(home: Installation) -> None:
    said = b"x" * (LIMIT_BYTES - 1_000)

    place = await take(home, said)

    assert (await kept_record(home, place))[1] == said


async def test_a_permission_for_an_address_that_does_not_normalise_is_rejected(home: Installation) -> None:
    place = await take(home, given(email("not an address")))

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("rejected", "BAD_IDENTIFIER")


async def test_a_refusal_for_an_address_that_does_not_normalise_binds_it_as_it_is_and_is_flagged(
    home: Installation,
) -> None:
    place = await take(home, withdrawn(email("not an address")))

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("synthetic", "RAW_IDENTIFIER")
    assert became.entry is not None
    assert (became.entry["type"], became.body["purposes"]) == ("consent-withdrawn", ["newsletter"])
    known = await hashes(home, "email", "not an address")
    assert (await subjects(home, place))["shop-be"] == [known["shop-be"]]


async def test_a_malformed_refusal_of_10_000_identifiers_binds_the_first_50(home: Installation) -> None:
    who = address()

    place = await take(home, many_identifiers(withdrawn(email(who))))

    found = await subjects(home, place)
    assert found.keys() == {"shop-be", "shop-nl"}
    assert {len(bound) for bound in found.values()} == {50}


async def test_other_restrictive_events_suppress_nothing_when_they_are_malformed(home: Installation) -> None:
    said = event("delivery-failed", controllers=["shop-be"], subject=[email(address())], bounce="harder")

    place = await take(home, said)

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("rejected", "BAD_FIELD")


async def test_a_malformed_refusal_whose_source_cannot_be_read_counts_for_every_controller(home: Installation) -> None:
    who = address()

    place = await take(home, with_attributes(source=["web", "shop-be"])(withdrawn(email(who))))

    assert (await outcome(home, place)).became == "synthetic"
    assert await subjects(home, place) == {name: [one] for name, one in (await hashes(home, "email", who)).items()}


async def test_a_malformed_refusal_that_names_nobody_is_rejected(home: Installation) -> None:
    place = await take(home, withdrawn(data={"subject": []}))

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("rejected", "BAD_FIELD")


async def test_a_malformed_refusal_that_comes_again_counts_once(home: Installation) -> None:
    said = without("id")(withdrawn(email(address())))

    first, second = await take(home, said), await take(home, said)

    assert (await outcome(home, first)).became == "synthetic"
    became = await outcome(home, second)
    assert became.entry is None
    assert became.duplicate_of == (await outcome(home, first)).entry["event_id"]  # type: ignore[index]


async def test_a_register_on_the_events_topic_is_rejected(home: Installation) -> None:
    place = await take(home, event("register-loaded", source="operator", document={}))

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("rejected", "WRONG_TOPIC")


async def test_a_consent_on_the_control_topic_is_rejected(home: Installation) -> None:
    consent = await take(home, given(email(address())), shard=0)

    assert (await outcome(home, consent)).reason == "WRONG_TOPIC"


async def test_an_event_dated_2019_by_its_publisher_is_recorded_now(home: Installation) -> None:
    before = datetime.now(UTC)

    place = await take(home, withdrawn(email(address())), at_ms=NOON_OF_2019_07_01_MS)

    entry = (await outcome(home, place)).entry
    assert entry is not None
    assert entry["recorded_at"] > before - timedelta(minutes=1)


async def test_an_event_that_names_no_controller_of_the_register_is_recorded_and_flagged(home: Installation) -> None:
    place = await take(home, linked(email(address()), email(address()), controllers=["nobody"]))

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("synthetic", "NO_CONTROLLER")
    assert await subjects(home, place) == {}


async def test_after_all_this_every_offset_is_accounted_for_exactly_once(home: Installation) -> None:
    await home.recorded_to_the_end()

    await require_balance(home)


@pytest.mark.parametrize("declare", DECLARATIONS.values(), ids=DECLARATIONS.keys())
async def test_a_record_that_is_marked_as_a_replay_is_no_news_whatever_it_says(
    home: Installation, declare: Callable[..., dict[str, Any]]
) -> None:
    place = await take(home, declare(email(address())), headers=[("Consent-Replay", b"1")])

    became = await outcome(home, place)
    assert (became.became, became.reason) == ("rejected", "REPLAYED")
    assert await subjects(home, place) == {}
