"""A record brought to template and instants says the same as before.

Seen to fail: instants numbered anew in each purpose; `since` taken for `valid_until`; instants left in the template.
"""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_ledger.client.records import UnreadableRecordError, read_row, read_template, to_micros
from consent_ledger.domain.durations import rfc3339
from consent_ledger.domain.suppression import Answer

instants = st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)).map(rfc3339)  # noqa: DTZ001
reasons = st.sampled_from(["CONSENT", "OBJECTION_DM", 'a"since":"x', "é\\"])
answers = st.builds(
    Answer, allow=st.booleans(), reason=reasons, reasons=st.lists(reasons, max_size=2).map(tuple),
    since=st.none() | instants, valid_until=st.none() | instants, needs_dnc=st.none() | st.just("be-dncm"),
)  # fmt: skip
names = st.sampled_from(["a", "b", "valid_until", 'since":"', "é"])
decisions = st.dictionaries(names, st.dictionaries(names, answers, max_size=3), max_size=3)


def record(said: object) -> bytes:
    return msgspec.json.encode(
        {
            "controller": "c",
            "identifier": {"type": "email", "hash": "00ff" * 16, "kid": "k"},
            "version": 3,
            "register": 2,
            "decisions": said,
        }
    )


@given(decisions)
def test_template_and_instants_give_back_the_decisions(said: dict[str, dict[str, Answer]]) -> None:
    row = read_row(record(said))

    found = {
        purpose: {
            channel: (
                slot.allow, slot.reason, slot.reasons, slot.needs_dnc,
                *(None if place is None else row.instants[place] for place in (slot.since, slot.valid_until)),
            )
            for channel, slot in channels.items()
        }
        for purpose, channels in read_template(row.template).items()
    }  # fmt: skip
    assert found == {
        purpose: {
            channel: (
                one.allow, one.reason, one.reasons, one.needs_dnc,
                *(None if text is None else to_micros(text.encode()) for text in (one.since, one.valid_until)),
            )
            for channel, one in channels.items()
        }
        for purpose, channels in said.items()
    }  # fmt: skip


def test_records_that_differ_in_instants_alone_share_a_template() -> None:
    one, other = (
        read_row(record({"a": {"b": Answer(allow=True, reason="CONSENT", valid_until=until)}}))
        for until in ("2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z")
    )

    assert one.template == other.template
    assert one.instants != other.instants


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", record(3)[:-4], record({}).replace(b"00ff", b"00zz")])
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(UnreadableRecordError):
        read_row(value)
