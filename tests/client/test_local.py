"""A mail tool's own view answers as the topic says, and says no whenever it cannot be sure.

Seen to fail: an incomplete copy answered from; the watermark not looked at; the newest instead of the oldest watermark
taken; `valid_until` passed over; the register version that a purpose needs not looked at; a purpose missing from a
record answered by the default; the check of the key passed over; a checksum not looked at, of a row, of the head;
missing rows not counted; a do-not-call snapshot passed over, or one that is too old; numbers without a record answered
by the default; a row that is too short; an older version written over a newer; a tombstone obeyed; a template numbered
anew served from before.
"""

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from zlib import crc32

import pytest

from client.topic import (
    KEY,
    NOW,
    SHOP,
    Clock,
    address,
    apply,
    copied,
    no,
    purposes,
    snapshot,
    view_of,
    watermark,
    yes,
)
from consent_ledger.client import HashKey, LocalView
from consent_ledger.client.copy import Copy, Place
from consent_ledger.client.local import DAMAGED

AN = "an@example.be"
YES = {"newsletter": {"email": yes()}}


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A complete and fresh copy in which An has consented to the newsletter."""
    made = copied(tmp_path / "copy", address(AN, YES))
    yield made
    made.close()


def asked(
    view: LocalView, value: str = AN, purpose: str = "newsletter", channel: str = "email"
) -> tuple[bool, str, bool]:
    decision = view.decide(SHOP, value, purpose, channel)
    return decision.allow, decision.reason, decision.final


def test_what_the_topic_says_of_an_address_is_the_answer(copy: Copy) -> None:
    apply(copy, address("bo@example.be", {"newsletter": {"email": no("OBJECTION_DM")}}))
    view = view_of(copy)

    assert asked(view) == (True, "CONSENT", True)
    assert asked(view, " AN@Example.BE ") == (True, "CONSENT", True)
    assert asked(view, "bo@example.be") == (False, "OBJECTION_DM", True)


def test_an_address_without_a_record_gets_what_holds_for_nobody(copy: Copy) -> None:
    view = view_of(copy)

    assert asked(view, "nobody@example.be") == (False, "CONSENT_ABSENT", True)
    assert asked(view, "nobody@example.be", "invoice") == (True, "CONTRACT", True)


def test_what_is_not_registered_is_a_no_that_says_so(copy: Copy) -> None:
    view = view_of(copy)

    assert asked(view, purpose="unknown") == (False, "UNKNOWN_PURPOSE", True)
    assert asked(view, purpose="invoice", channel="sms") == (False, "CHANNEL_NOT_COVERED", True)
    assert asked(view, "no address") == (False, "NO_ADDRESS", True)
    assert view.decide("shop-xx", AN, "newsletter", "email").reason == "UNKNOWN_CONTROLLER"
    assert view.decide(SHOP, "an", "newsletter", "email", type="customer_no").reason == "NO_ADDRESS"


def test_a_channel_without_addresses_wants_to_know_of_which_type_the_identifier_is(copy: Copy) -> None:
    view = view_of(copy)

    with pytest.raises(ValueError, match="internal"):
        view.decide(SHOP, AN, "invoice", "internal")
    assert view.decide(SHOP, AN, "invoice", "internal", type="email").reason == "CONTRACT"


def test_a_copy_that_is_not_complete_says_no(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    empty = asked(view_of(copy))
    with copy.writing() as writing:
        writing.begin_anew("suppressions", [0])
    apply(copy, purposes(), address(AN, YES), watermark())

    assert empty == asked(view_of(copy)) == (False, "UNAVAILABLE", False)


def test_a_copy_that_begins_anew_says_no_until_it_is_complete_again(copy: Copy) -> None:
    view = view_of(copy)
    before = asked(view)
    with copy.writing() as writing:
        writing.begin_anew("suppressions", [5])

    assert (before[0], asked(view)) == (True, (False, "UNAVAILABLE", False))


def test_a_copy_behind_the_limit_says_no_and_recovers(copy: Copy) -> None:
    clock = Clock(NOW + timedelta(seconds=60))
    view = view_of(copy, clock=clock)
    within = asked(view)
    clock.now += timedelta(milliseconds=1)
    behind = asked(view)
    apply(copy, watermark(NOW + timedelta(seconds=2), 2))

    assert (within[0], behind) == (True, (False, "STALE", False))
    assert asked(view)[0] is True


def test_the_partition_that_is_furthest_behind_counts(tmp_path: Path) -> None:
    copy = copied(tmp_path, address(AN, YES))
    with copy.writing() as writing:
        writing.now.places.append(Place(instant=1))

    assert asked(view_of(copy)) == (False, "STALE", False)


def test_a_yes_ends_at_its_instant(copy: Copy) -> None:
    end = NOW + timedelta(seconds=10)
    apply(copy, address(AN, {"newsletter": {"email": yes(until=end)}}, version=2))
    clock = Clock(end - timedelta(microseconds=1))
    view = view_of(copy, clock=clock)
    before = view.decide(SHOP, AN, "newsletter", "email")
    clock.now = end

    assert (before.allow, before.valid_until) == (True, end)
    assert asked(view) == (False, "STALE", False)


def test_a_decision_made_under_an_older_register_than_its_purpose_needs_is_a_no(copy: Copy) -> None:
    apply(copy, purposes(version=2, needs={"newsletter": 2}))
    view = view_of(copy)

    assert asked(view) == (False, "REGISTER_CHANGED", False)
    assert asked(view, purpose="invoice") == (True, "CONTRACT", True)
    assert asked(view, "nobody@example.be") == (False, "CONSENT_ABSENT", True)


def test_a_purpose_that_a_record_lacks_is_a_no(copy: Copy) -> None:
    key, value = address(AN, YES, version=2)
    apply(copy, (key, value.replace(b'"invoice"', b'"old"')))

    assert asked(view_of(copy), purpose="invoice") == (False, "REGISTER_CHANGED", False)


def test_another_key_is_told_from_the_right_one(copy: Copy) -> None:
    wrong = HashKey(controller=SHOP, kid="kid-1", key=bytes(32))

    assert asked(view_of(copy, keys=(wrong,))) == (False, "WRONG_KEY", False)
    assert asked(view_of(copy, keys=())) == (False, "WRONG_KEY", False)
    assert "\\x00" not in repr(wrong)


def test_an_older_record_never_replaces_a_newer(copy: Copy) -> None:
    apply(copy, address(AN, {"newsletter": {"email": no("OBJECTION_DM")}}, version=7), address(AN, YES, version=6))

    assert asked(view_of(copy)) == (False, "OBJECTION_DM", True)


def test_a_tombstone_takes_nothing_away(copy: Copy) -> None:
    key, _ = address(AN)
    apply(copy, address(AN, {"invoice": {"email": no("ERASED")}}, version=2), (key, None))

    assert asked(view_of(copy), purpose="invoice") == (False, "ERASED", True)


def test_only_the_service_knows_of_a_number_that_has_no_record(copy: Copy) -> None:
    end = NOW + timedelta(seconds=20)
    clock = Clock()
    view = view_of(copy, clock=clock)
    apply(
        copy,
        address("+32470000001", {"calls": {"phone": yes("LEGITIMATE_INTEREST", needs_dnc="be-dncm")}}, type="phone"),
    )
    without = asked(view, "+32470000001", "calls", "phone")
    apply(copy, snapshot(end))
    fresh = view.decide(SHOP, "+32470000001", "calls", "phone")
    unknown = asked(view, "+32470000002", "calls", "phone")
    clock.now = end

    assert without == (False, "DNC_STALE", True)
    assert (fresh.allow, fresh.valid_until) == (True, end)
    assert unknown == (False, "ASK_HTTP", False)
    assert view.decide(SHOP, "+32470000001", "calls", "phone").allow is False


def test_a_do_not_call_register_is_as_fresh_as_on_the_partition_furthest_behind(copy: Copy) -> None:
    number, calls = "+32470000001", {"calls": {"phone": yes("LEGITIMATE_INTEREST", needs_dnc="be-dncm")}}
    later = snapshot(NOW + timedelta(days=1), version=2)
    with copy.writing() as writing:
        writing.now.places.append(Place(instant=writing.now.instant))
    apply(copy, address(number, calls, type="phone"), later)
    apply(copy, snapshot(NOW), q=1)
    view = view_of(copy)
    behind = asked(view, number, "calls", "phone")
    apply(copy, later, q=1)
    caught_up = asked(view, number, "calls", "phone")
    apply(copy, snapshot(NOW), q=1)

    assert behind == (False, "DNC_STALE", True)
    assert caught_up == asked(view, number, "calls", "phone") == (True, "LEGITIMATE_INTEREST", True)


@pytest.mark.parametrize("name", [b"rows", b"meta", b"templates", b"defaults"])
def test_a_bit_that_tips_over_is_a_no_and_asks_for_a_new_copy(tmp_path: Path, name: bytes) -> None:
    copy = copied(tmp_path, address(AN, YES))
    with copy.environment.begin(write=True) as transaction, transaction.cursor(db=copy._dbs[name]) as cursor:
        cursor.first()
        key, value = cursor.item()
        flipped = bytearray(value)
        flipped[-1] ^= 1
        transaction.put(key, bytes(flipped), db=copy._dbs[name])

    assert asked(view_of(copy)) == (False, "UNAVAILABLE", False)
    assert (tmp_path / DAMAGED).exists()


def test_every_byte_of_a_row_is_guarded(copy: Copy) -> None:
    apply(copy, address("bo@example.be", {"newsletter": {"email": yes(until=NOW + timedelta(days=1))}}))
    row = KEY.hash("email", "bo@example.be")
    with copy.environment.begin() as transaction:
        good = transaction.get(row, db=copy._dbs[b"rows"]) or b""
    answers = set()
    for place in range(len(good)):
        with copy.environment.begin(write=True) as transaction:
            bad = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
            transaction.put(row, bad, db=copy._dbs[b"rows"])
        answers.add(asked(view_of(copy), "bo@example.be"))

    assert answers == {(False, "UNAVAILABLE", False)}


@pytest.mark.parametrize("kept", [0, 3, 4, 27])
def test_a_row_cut_short_is_a_no(copy: Copy, kept: int) -> None:
    row = KEY.hash("email", AN)
    with copy.environment.begin(write=True) as transaction:
        good = transaction.get(row, db=copy._dbs[b"rows"]) or b""
        content = good[4 : max(kept, 4)]
        transaction.put(row, (crc32(content, crc32(row)).to_bytes(4) + content)[:kept], db=copy._dbs[b"rows"])

    assert asked(view_of(copy)) == (False, "UNAVAILABLE", False)


def test_a_row_that_has_gone_missing_is_a_no_for_everybody(copy: Copy) -> None:
    with copy.environment.begin(write=True) as transaction:
        transaction.delete(KEY.hash("email", AN), db=copy._dbs[b"rows"])

    assert asked(view_of(copy), "nobody@example.be", "invoice") == (False, "UNAVAILABLE", False)


def test_a_copy_made_anew_after_damage_does_not_serve_old_templates(copy: Copy) -> None:
    view = view_of(copy)
    before = asked(view)
    with copy.writing() as writing:
        writing.clear()
        writing.begin_anew("suppressions", [0])
    apply(copy, purposes(), address(AN, {"newsletter": {"email": no("OBJECTION_DM")}}), watermark())
    with copy.writing() as writing:
        writing.now.complete = True

    assert (before[0], asked(view)) == (True, (False, "OBJECTION_DM", True))


def test_many_answers_are_those_of_single_questions(copy: Copy) -> None:
    people = [AN, "no address", "nobody@example.be", AN]
    view = view_of(copy)

    many = view.decide_many(SHOP, people, "newsletter", "email")

    assert many == [view.decide(SHOP, person, "newsletter", "email") for person in people]


def test_threads_may_ask_while_the_copy_changes(copy: Copy) -> None:
    view = view_of(copy)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(300):
            decision = view.decide(SHOP, AN, "newsletter", "email")
            if decision.allow != (decision.reason == "CONSENT"):
                wrong.append(decision)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 100):
        apply(
            copy, address(AN, {"newsletter": {"email": yes() if version % 2 else no("OBJECTION_DM")}}, version=version)
        )
    for thread in threads:
        thread.join()

    assert wrong == []
    assert asked(view)[0] is True


def test_a_forked_child_goes_on_with_a_copy_of_its_own(copy: Copy) -> None:
    view = view_of(copy)
    assert asked(view)[0] is True
    child = os.fork()
    if child == 0:
        os._exit(0 if asked(view)[0] and view._copy is not copy else 1)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
