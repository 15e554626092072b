"""Laws that every history keeps (specification 6.13), and the instants at which a decision ends or may change.

Seen to fail: refusals dropped that arrived before a consent; `as_of` ignored; only the last refusal obeyed; a consent
counted for every channel of its purpose, or at any address; everybody's events, or all identifiers of a dossier, taken
for the person; `due` without the end of a consent, of silence, of a pending opt-in; `valid_until` taken from `due`
unjudged; the record of an address without the named purposes, or the wide refusals, asked anew.
"""

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_ledger.domain import durations
from consent_ledger.domain.decision import CHANNELS_OF, decide, decide_address
from consent_ledger.domain.facts import Dossier
from consent_ledger.domain.scenario import Ledger, Snapshot, Snapshots
from domain import histories
from domain.histories import END, PEOPLE, REGISTER, START, STRANGERS, Event, ask, numbered, questions

AT = END.isoformat()
slowly = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
instants = histories.minutes.map(lambda late: (START + timedelta(minutes=late)).isoformat())


def _arriving_late(events: list[Event]) -> list[Event]:
    """Record everything after it happened, in this order, no two events at one instant."""
    return [
        event | {
            "occurred_at": (START + timedelta(seconds=7 * int(event["id"][1:])) + _since_start(event)).isoformat(),
            "recorded_at": (END - timedelta(hours=1) + timedelta(seconds=place)).isoformat(),
        }
        for place, event in enumerate(events)
    ]  # fmt: skip


def _since_start(event: Event) -> timedelta:
    return durations.moment(durations.instant(event["occurred_at"])) - START


@slowly
@given(histories.histories(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_answer(events: list[Event], order: Any) -> None:
    shuffled = order.sample(events, len(events))

    assert _said(_arriving_late(events)) == _said(_arriving_late(shuffled))


def _said(events: list[Event]) -> dict[Any, tuple[bool, str]]:
    return {question: (answer.allow, answer.reason) for question, answer in histories.answers(events, AT).items()}


@slowly
@given(histories.histories(), instants, instants)
def test_what_is_recorded_later_does_not_change_what_was_known(events: list[Event], at: str, as_of: str) -> None:
    known = [event for event in events if durations.instant(event["recorded_at"]) <= durations.instant(as_of)]

    replayed = histories.answers(events, at, as_of)

    assert {q: (a.allow, a.reason) for q, a in replayed.items()} == {
        q: (a.allow, a.reason) for q, a in histories.answers(known, at, as_of).items()
    }


# A refusal by one identifier links nobody; by two it can join a person whose contacts keep a silence clock running.
@slowly
@given(histories.histories(), histories.refusals(most=1))
def test_a_refusal_never_turns_a_no_into_a_yes(events: list[Event], refusal: Event) -> None:
    before = histories.answers(events, AT)

    after = histories.answers([*events, *numbered([refusal], "new")], AT)

    assert {question for question, answer in after.items() if answer.allow} <= {
        question for question, answer in before.items() if answer.allow
    }


@slowly
@given(histories.histories(), histories.consents(most=1, marks=False))
def test_a_consent_opens_nothing_but_what_it_names(events: list[Event], consent: Event) -> None:
    history = [event for event in events if event["type"] != "identifier-changed"]
    before = histories.answers(history, AT)

    after = histories.answers([*history, *numbered([consent], "new")], AT)

    opened = {question for question, answer in after.items() if answer.allow and not before[question].allow}
    address = (consent["subject"][0]["type"], consent["subject"][0]["value"])
    for controller, purpose, channel, person in opened:
        named = purpose in consent["purposes"] and channel in consent["channels"]
        asks_for_named = purpose == "ask" and "letters" in consent["purposes"]
        assert controller in consent["controllers"]
        assert person == address
        assert named or asks_for_named


@slowly
@given(histories.histories(), histories.histories(STRANGERS))
def test_other_people_change_nothing(events: list[Event], strange: list[Event]) -> None:
    references = {"consent_id", "objection_id", "restriction_id", "request_id", "voids"}
    apart = [
        {field: f"s{value[1:]}" if field in references else value for field, value in event.items()}
        for event in numbered(strange, "s")
    ]

    assert _said([*events, *apart]) == _said(events)


@slowly
@given(histories.histories(), st.integers(0, 60 * 24 * 400))
def test_an_answer_changes_by_time_alone_only_when_it_said_so(events: list[Event], wait: int) -> None:
    ledger = Ledger(REGISTER, events)
    dnc = {"list": Snapshots([Snapshot(durations.instant(START), durations.instant(START), "feed", {})])}
    ledger.snapshots.update(dnc)
    start = END.timestamp()
    for question in questions():
        now = ask(ledger, question, AT)
        later = min(start + 60 * wait, (now.due - 1) / durations.SECOND if now.due else durations.NEVER)
        then = ask(ledger, question, durations.moment(int(later * durations.SECOND)).isoformat())

        assert (then.allow, then.reason, then.since) == (now.allow, now.reason, now.since)


@slowly
@given(histories.histories())
def test_a_yes_ends_at_its_last_instant_and_not_before(events: list[Event]) -> None:
    ledger = Ledger(REGISTER, events)
    for question in questions():
        now = ask(ledger, question, AT)
        if now.valid_until is not None:
            assert now.allow
            assert now.due is not None
            assert now.due <= now.valid_until
            assert ask(ledger, question, durations.moment(now.valid_until - 1).isoformat()).allow
            assert not ask(ledger, question, durations.moment(now.valid_until).isoformat()).allow


@slowly
@given(histories.histories(most=6))
def test_time_alone_opens_only_what_the_law_lets_it_open(events: list[Event]) -> None:
    ledger = Ledger(REGISTER, events)
    for question in questions():
        now = ask(ledger, question, AT)
        if not now.allow and now.due is not None:
            then = ask(ledger, question, durations.moment(now.due).isoformat())
            assert not then.allow or now.reason in ("MINOR", "OBJECTION_PENDING", "REPERMISSION_NOT_DUE")


@slowly
@given(histories.histories())
def test_the_record_of_an_address_holds_the_answer_to_each_question(events: list[Event]) -> None:
    ledger = Ledger(REGISTER, events)
    at = durations.instant(AT)
    for controller in REGISTER.controllers:
        for kind, value in PEOPLE:
            token = f"{kind}|{value}".encode()
            facts = Dossier.loads(Dossier().add(ledger.dossier(controller, [token])).dumps()).facts
            record = decide_address(REGISTER, facts, controller=controller, type=kind, token=token, at=at)

            assert record == {
                (purpose.id, channel): decide(
                    REGISTER, facts, controller=controller, identifiers=[(kind, token)], purpose=purpose.id,
                    channel=channel, at=max([at, *(fact.recorded for fact in facts)]),
                )
                for purpose in REGISTER.purposes_of(controller)
                for channel in purpose.channels if channel in CHANNELS_OF[kind]
            }  # fmt: skip


@slowly
@given(histories.histories())
def test_a_dossier_wider_than_the_person_gives_the_same_answers(events: list[Event]) -> None:
    ledger = Ledger(REGISTER, events)
    for controller, purpose, channel, (kind, value) in questions():
        token = f"{kind}|{value}".encode()
        narrow, wide = (
            decide(
                REGISTER, facts, controller=controller, identifiers=[(kind, token)], purpose=purpose, channel=channel,
                at=END,
            )
            for facts in (ledger.dossier(controller, [token]), ledger.facts(controller))
        )  # fmt: skip

        assert narrow == wide
