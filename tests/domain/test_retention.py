"""How long the evidence of a consent is kept, and that deleting it never turns a no into a yes.

Seen to fail: other consents taken for the one in question; evidence kept a day too short, or for ever the same time;
unconfirmed consents kept for years; one purpose of several taken for all; purposes that nobody knows taken for over;
time alone ending nothing; five years for calls dropped, or only by the country in the event. A consent forgotten that
links, marks as shared, tells of a minor, or names two controllers; the deciding before and after left out.

And: an end of reliance that did not last taken for one; a consent without effect counted from before the register that
made it so; a contact counted from itself; the typist's name of a refusal deleted; persons forgotten whole in spite of a
refusal, of others who share an address, or of something just recorded; the end of a relationship without its beginning.

Of files of requests: a step, or a voided one, left behind; one gone that links, marks as shared, or is about somebody
under a hold; one with a step of another type, with a step that came later, with a second request under its name, or
under the name of another event; a birth date that is gone taken for none; a fact left with what is gone of it.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent_ledger.domain import durations, register, retention
from consent_ledger.domain.decision import decide
from consent_ledger.domain.facts import Fact, without_personal
from consent_ledger.domain.register import RESTRICTIVE
from consent_ledger.domain.scenario import Ledger
from consent_ledger.runtime.calendars import calendar
from domain import histories
from domain.histories import Event, numbered

TERMS: dict[str, Any] = {"basis": "consent", "channels": ["email", "phone"], "direct_marketing": True}
REGISTER = register.parse(
    {
        "controllers": {"shop": {"country": "BE"}, "haus": {"country": "DE", "evidence_retention": "P4Y"}},
        "sources": {"web": {"controllers": ["shop", "haus"]}},
        "purposes": [
            {"controller": "shop", "id": "news", **TERMS},
            {"controller": "shop", "id": "long", **TERMS, "evidence_retention": "P10Y"},
            {"controller": "shop", "id": "club", **TERMS, "double_opt_in": True},
            {"controller": "shop", "id": "month", **TERMS, "consent_ttl": "P1M"},
            {"controller": "shop", "id": "youth", **TERMS, "min_age": 16, "age_gate": "signal"},
            {"controller": "shop", "id": "similar", "basis": "legitimate-interest", "channels": ["email"],
             "direct_marketing": True, "soft_opt_in": True, "inactivity_ttl": "P2Y"},
            {"controller": "shop", "id": "offers", "basis": "contract", "channels": ["email"]},
            {"controller": "shop", "id": "file", "basis": "legitimate-interest", "channels": ["internal"]},
            {"controller": "haus", "id": "news", **TERMS},
        ],
    }
)  # fmt: skip
LOADED = durations.instant("2026-02-01T00:00:00Z")
AN = {"type": "email", "value": "an@example.be"}
PHONE = {"type": "phone", "value": "+3221112233"}
EVIDENCE = {"text_id": "t", "text_version": 1, "ref": "r"}


def said(type: str, day: str, *purposes: str, **fields: Any) -> Event:
    instant = f"{day}T10:00:00Z"
    plain: Event = {
        "type": type, "source": "web", "occurred_at": instant, "recorded_at": instant, "controllers": ["shop"],
        "subject": [AN], "purposes": list(purposes) or ["news"], "channels": ["email"],
    }  # fmt: skip
    return plain | fields


def gave(day: str, *purposes: str, **fields: Any) -> Event:
    more = {"origin": "data-subject", "mechanism": "button", "evidence": EVIDENCE}
    return said("consent-given", day, *purposes, **(more | fields))


def sold(day: str, **fields: Any) -> Event:
    conditions = dict.fromkeys(("collected_in_sale", "opt_out_offered", "similar_products"), True)
    return said("relationship-started", day, **(conditions | fields))


def contacted(day: str, **fields: Any) -> Event:
    return said("contact-recorded", day, **({"initiated_by": "subject", "kind": "click"} | fields))


def until(*events: Event, now: str = "2040-01-01", controller: str = "shop") -> date | None:
    facts = Ledger(REGISTER, numbered(list(events))).facts(controller)
    place = calendar(REGISTER.controllers[controller].country)
    at = durations.instant(f"{now}T10:00:00Z")
    return retention.until_of(REGISTER, facts, facts[0], controller, place, at, LOADED)


def facts_of(*events: Event) -> Sequence[Fact]:
    return Ledger(REGISTER, numbered(list(events))).facts("shop")


def plan(*events: Event, now: str = "2040-01-01", answered: Collection[str] = ()) -> retention.Plan:
    facts = Ledger(REGISTER, numbered(list(events))).facts("shop")
    at = durations.instant(f"{now}T10:00:00Z")
    return retention.plan(REGISTER, facts, "shop", calendar("BE"), at, LOADED, file_of(answered))


def file_of(steps: Collection[str], *, is_paper: bool = True) -> retention.Answered:
    ids = frozenset(one.encode() for one in steps)
    return retention.Answered(dict.fromkeys(ids, ids), ids if is_paper else frozenset())


@pytest.mark.parametrize(
    ("events", "kept_until"),
    [
        ([gave("2026-01-01")], None),
        ([gave("2026-01-01"), said("consent-withdrawn", "2026-03-01")], "2029-03-01"),
        ([gave("2026-01-01"), said("consent-withdrawn", "2028-02-29")], "2031-02-28"),
        ([gave("2026-01-01", "long"), said("consent-withdrawn", "2026-03-01", "long")], "2036-03-01"),
        ([gave("2026-01-01"), said("objection-raised", "2026-03-01", kind="direct-marketing")], "2029-03-01"),
        ([gave("2026-01-01"), said("complaint-received", "2026-03-01", kind="direct")], "2029-03-01"),
        ([gave("2026-01-01"), said("erasure-requested", "2026-03-01")], "2029-03-01"),
        ([gave("2026-01-31", "month")], "2029-02-28"),
        ([gave("2026-01-31", "month"), said("consent-withdrawn", "2026-02-02", "month")], "2029-02-02"),
        ([gave("2026-01-31", "month"), gave("2026-02-10", "month")], "2029-02-28"),
        ([gave("2026-01-01", "club")], "2026-01-08"),
        ([gave("2026-01-01", "club"), said("consent-confirmed", "2026-01-02", consent_id="e0", subject=None)], None),
        ([gave("2026-01-01"), said("restriction-placed", "2026-03-01")], None),
        ([gave("2026-01-01"), said("consent-withdrawn", "2026-03-01", "long")], None),
        ([gave("2026-01-01", "news", "long"), said("consent-withdrawn", "2026-03-01")], None),
        ([gave("2026-01-01", "news", "long"), said("consent-withdrawn", "2026-03-01", "news", "long")], "2036-03-01"),
        ([gave("2026-01-01", "offers")], "2029-01-01"),
        ([gave("2026-01-01", "unheard-of")], "2029-02-01"),
        ([gave("2026-01-01", mechanism="pre-ticked")], "2029-02-01"),
        ([gave("2026-01-01"), said("consent-withdrawn", "2026-03-01"), gave("2026-04-01")], "2029-03-01"),
    ],
)
def test_evidence_is_kept_from_the_end_of_reliance(events: list[Event], kept_until: str | None) -> None:
    found = until(*[{name: value for name, value in one.items() if value is not None} for one in events])

    assert found == (date.fromisoformat(kept_until) if kept_until else None)


@pytest.mark.parametrize(
    ("events", "kept_until"),
    [
        ([sold("2026-01-01")], None),
        (
            [sold("2026-01-01"), said("objection-raised", "2026-03-01", "similar", kind="direct-marketing")],
            "2029-03-01",
        ),
        ([sold("2026-01-01"), said("relationship-ended", "2026-02-01")], "2031-02-01"),
        ([sold("2026-01-01"), said("relationship-ended", "2026-02-01"), contacted("2026-04-01")], "2031-04-01"),
        ([sold("2026-01-01"), said("relationship-ended", "2026-02-01"), sold("2026-04-01")], "2031-02-01"),
        (
            [
                sold("2026-01-01"),
                said("objection-raised", "2026-03-01", "similar", kind="direct-marketing"),
                said("objection-withdrawn", "2026-04-01", "similar", origin="data-subject"),
            ],
            None,
        ),
        ([sold("2026-01-01", opted_out_at_collection=True)], "2029-01-01"),
        ([contacted("2026-01-01")], "2031-01-01"),
        ([said("relationship-ended", "2026-01-01")], "2031-01-01"),
        ([said("consent-withdrawn", "2026-01-01")], "2029-01-01"),
        ([said("consent-withdrawn", "2026-01-01", "news", "long")], "2036-01-01"),
        ([said("consent-withdrawn", "2026-01-01", entered_by="staff:an")], None),
        ([said("objection-raised", "2026-01-01", kind="direct-marketing")], None),
        ([said("erasure-requested", "2026-01-01")], None),
        ([said("identifiers-linked", "2026-01-01")], None),
    ],
)
def test_what_else_permits_is_kept_from_the_end_of_reliance(events: list[Event], kept_until: str | None) -> None:
    found = until(*events)

    assert found == (date.fromisoformat(kept_until) if kept_until else None)


@pytest.mark.parametrize(
    ("country", "calls", "kept_until"),
    [
        (None, [], "2031-01-01"),
        (None, ["2026-02-15"], "2031-02-15"),
        ("BE", ["2026-02-15"], "2030-03-01"),
    ],
)
def test_consent_of_germans_to_calls_is_kept_five_years_from_each_use(
    country: str | None, calls: list[str], kept_until: str
) -> None:
    phone = {"controllers": ["haus"], "channels": ["phone"], "subject": [{"type": "phone", "value": "+4930123456"}]}
    given_ = gave("2026-01-01", **phone, **({"country": country} if country else {}))
    used = [said("contact-recorded", day, initiated_by="controller", kind="call", **phone) for day in calls]

    found = until(given_, *used, said("consent-withdrawn", "2026-03-01", **phone), controller="haus")

    assert found == date.fromisoformat(kept_until)


def test_evidence_goes_on_the_day_after_the_last() -> None:
    events = [gave("2026-01-01"), said("consent-withdrawn", "2026-03-01")]

    assert plan(*events, now="2029-03-01") == retention.NOTHING
    assert plan(*events, now="2029-03-02").facts == {(0, 0)}


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": [AN, {"type": "phone", "value": "+3221112233"}]},
        {"subject": [{**AN, "shared": True}]},
        {"controllers": ["shop", "haus"]},
    ],
)
def test_a_consent_on_which_refusals_may_rest_loses_only_what_is_personal(fields: dict[str, Any]) -> None:
    found = plan(gave("2026-01-01") | fields, said("consent-withdrawn", "2026-03-01"))

    payloads = frozenset({(0, 0), (0, 1)})
    assert found == retention.Plan(payloads=payloads, facts=frozenset(), purposes=("news",), kept=1)


def test_a_consent_that_tells_of_a_minor_stays_until_they_are_not() -> None:
    events = [gave("2026-01-01") | {"age": {"birth_date": "2020-05-05"}}, said("consent-withdrawn", "2026-03-01")]

    assert (0, 0) not in plan(*events, now="2038-05-04").payloads
    assert plan(*events, now="2038-05-06").facts == {(0, 0)}


def test_of_a_consent_not_confirmed_it_is_known_for_thirty_days_that_there_was_one() -> None:
    assert plan(gave("2026-01-01", "club"), now="2026-01-08") == retention.NOTHING
    assert plan(gave("2026-01-01", "club"), now="2026-01-09").payloads == {(0, 0)}
    assert plan(gave("2026-01-01", "club"), now="2026-01-30").facts == set()
    assert plan(gave("2026-01-01", "club"), now="2026-02-01").facts == {(0, 0)}


LINK = said("identifiers-linked", "2026-01-05", subject=[AN, PHONE])


def test_a_person_of_whom_nothing_is_relied_on_is_forgotten_whole_links_and_all() -> None:
    events = [
        gave("2026-01-01", "month"), LINK, contacted("2026-01-07"), said("identifier-verified", "2026-01-08"),
        sold("2026-01-09"), said("relationship-ended", "2026-01-10"),
    ]  # fmt: skip

    assert plan(*events).facts == {(0, place) for place in range(6)}
    assert (0, 1) not in plan(*events, now="2036-01-05").facts
    assert plan(*events, gave("2026-01-11")).facts.isdisjoint({(0, 1), (0, 3)})
    assert plan(*events, gave("2026-01-11", "month", controllers=["shop", "haus"])).facts.isdisjoint({(0, 1), (0, 3)})


@pytest.mark.parametrize("refusal", sorted(RESTRICTIVE - {"preference-register-imported"}))
def test_a_link_stays_for_as_long_as_there_is_any_refusal_and_so_does_the_refusal(refusal: str) -> None:
    more: dict[str, Any] = {"age-established": {"is_minor": True}, "delivery-failed": {"bounce": "hard"}}
    found = plan(gave("2026-01-01", "month"), LINK, said(refusal, "2026-01-06", **more.get(refusal, {})))

    assert found.facts == {(0, 0)}


def test_a_replaced_address_stays_replaced() -> None:
    other = {"type": "email", "value": "new@example.be"}
    changed = said("identifier-changed", "2026-01-05", old=AN, new=other, origin="data-subject", verified=True)
    del changed["subject"]

    assert (0, 1) not in plan(gave("2026-01-01", "month"), changed).facts


def test_a_running_relationship_is_not_forgotten_by_half() -> None:
    ended = [sold("2026-01-01"), said("relationship-ended", "2026-01-10"), said("objection-raised", "2026-01-11")]

    assert plan(*ended).facts == {(0, 0), (0, 1)}
    assert plan(*ended, sold("2039-01-01")).facts == set()
    assert plan(*ended, sold("2039-01-01")).payloads == {(0, 0), (0, 1)}


def test_calls_are_kept_while_a_consent_is_used() -> None:
    objection = said("objection-raised", "2026-01-11", "similar", kind="direct-marketing")
    call = contacted("2026-01-01", kind="call")

    assert plan(call, objection).facts == {(0, 0)}
    assert plan(call, objection, gave("2026-02-01")).facts == set()


def test_whatever_was_thought_of_nothing_is_forgotten_that_would_make_a_no_a_yes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phone = {"type": "phone", "value": "+3221112233"}
    objection = said("objection-raised", "2026-03-01", subject=[phone])
    objection = {name: value for name, value in objection.items() if name not in ("purposes", "channels")}
    monkeypatch.setattr(retention, "_is_alone", lambda *_: True)

    linked = plan(gave("2026-01-01", subject=[AN, phone]), objection)
    alone = plan(gave("2026-01-01", subject=[phone]), objection)

    assert not linked.facts
    assert alone.facts == {(0, 0)}


def test_what_refers_to_a_forgotten_consent_goes_with_it_and_refusals_stay() -> None:
    confirmed = {k: v for k, v in said("consent-confirmed", "2026-01-02", consent_id="e0").items() if k != "subject"}
    events = [gave("2026-01-01", "club"), confirmed, said("consent-withdrawn", "2026-03-01", "club")]

    found = plan(*events)

    assert found.facts == {(0, 0), (0, 1)}
    assert found.payloads == {(0, 0), (0, 1), (0, 2)}
    assert found.purposes == ("club",)


# -- files of requests

RECEIVED = said("request-received", "2026-01-10", request_id="name", article="15")
USED = gave("2026-01-01")


def step(type: str, day: str = "2026-01-11", **fields: Any) -> Event:
    plain = {name: value for name, value in said(type, day).items() if name not in ("subject", "purposes", "channels")}
    return plain | {"request_id": "name"} | fields


ANSWERED = step("request-answered")


def test_the_file_of_a_request_goes_with_all_its_steps_and_nothing_else() -> None:
    steps = [
        step(kind) for kind in ("identity-requested", "identity-confirmed", "request-extended", "request-answered")
    ]
    voiding = {name: value for name, value in step("event-voided", voids="e2").items() if name != "request_id"}
    events = [USED, RECEIVED, *steps, voiding, step("recipient-notified", request_id="another")]

    found = plan(*events, answered=["e1", "e3", "e4", "e5"])

    assert found.facts == found.files == found.unsaid == found.payloads == {(0, place) for place in range(1, 7)}
    assert retention.left(facts_of(*events), found) == [facts_of(*events)[0], facts_of(*events)[7]]
    assert plan(*events) == retention.NOTHING


@pytest.mark.parametrize(
    "more",
    [
        {"subject": [AN, PHONE]},
        {"subject": [{**AN, "shared": True}]},
    ],
)
def test_a_file_on_which_refusals_may_rest_stays_whole(more: dict[str, Any]) -> None:
    objection = said("objection-raised", "2026-01-20", "similar", kind="direct-marketing")

    assert not plan(USED, RECEIVED | more, ANSWERED, objection, answered=["e1", "e2"]).facts
    assert not plan(USED, RECEIVED, ANSWERED | more, objection, answered=["e1", "e2"]).facts


@pytest.mark.parametrize(
    "other",
    [
        step("erasure-refused", grounds="Art. 17(3)(b)"),
        step("request-extended", "2041-01-01"),
        RECEIVED | {"article": "17"},
        said("erasure-requested", "2026-01-09") | {"id": "name"},
    ],
)
def test_a_file_that_something_else_is_found_by_stays_whole(other: Event) -> None:
    events = [*numbered([USED, RECEIVED, ANSWERED]), {"id": "e3"} | other]
    facts = Ledger(REGISTER, events).facts("shop")
    at = durations.instant("2040-01-01T10:00:00Z")

    found = retention.plan(REGISTER, facts, "shop", calendar("BE"), at, LOADED, file_of(["e1", "e2"]))

    file = {one.place for one in facts if one.event_id in (b"e1", b"e2")}
    assert found.facts.isdisjoint(file)
    assert found.payloads >= file


def test_of_a_file_by_which_somebody_refuses_only_what_is_personal_goes() -> None:
    answer_ = ANSWERED | {"entered_by": "staff:an"}
    facts = facts_of(USED, RECEIVED, answer_)
    at = durations.instant("2040-01-01T10:00:00Z")

    found = retention.plan(
        REGISTER, facts, "shop", calendar("BE"), at, LOADED, file_of(["e1", "e2"], is_paper=False)
    )  # fmt: skip

    assert (found.payloads, found.facts) == (frozenset({(0, 1), (0, 2)}), frozenset())
    assert facts[2].entered_by == "staff:an"
    assert [one.entered_by for one in retention.left(facts, found)] == [None, None, None]


def test_a_consent_of_whoever_was_too_young_does_not_count_without_its_birth_date() -> None:
    """Its personal part may go while it links, also where only known minors are kept out."""
    young = gave("2026-01-01", "youth", subject=[AN, PHONE], age={"birth_date": "2012-05-05"})
    objection = said("objection-raised", "2026-01-20", "similar", kind="direct-marketing")

    assert plan(young, objection, now="2031-01-01") == retention.Plan(
        payloads=frozenset({(0, 0)}), facts=frozenset(), purposes=("youth",), kept=1
    )  # fmt: skip
    assert plan(young | {"subject": [AN]}, objection, now="2031-01-01").facts == {(0, 0)}
    at = durations.instant("2031-01-01T10:00:00Z")
    facts = facts_of(young, said("objection-raised", "2026-01-20", "file", kind="purpose"))
    left = retention.left(facts, retention.plan(REGISTER, facts, "shop", calendar("BE"), at, LOADED))
    reasons = [
        decide(REGISTER, some, controller="shop", identifiers=[("email", b"email|an@example.be")], purpose="youth",
               channel="email", at=at).reason
        for some in (facts, left)
    ]  # fmt: skip
    assert reasons == ["MINOR", "AGE_UNKNOWN"]


def test_a_file_of_whoever_is_under_a_hold_stays() -> None:
    hold = said("hold-placed", "2026-02-01")
    lifted = {
        name: value for name, value in said("hold-lifted", "2026-02-02", hold_id="e3").items() if name != "subject"
    }

    other = gave("2026-01-01", "month", subject=[PHONE])

    assert plan(USED, RECEIVED, ANSWERED, hold, answered=["e1", "e2"]) == retention.NOTHING
    # Recorded as the second.
    assert plan(USED, RECEIVED, ANSWERED, hold, other, answered=["e1", "e2"]).facts == {(0, 1)}
    assert plan(USED, RECEIVED, ANSWERED, hold, lifted, answered=["e1", "e2"]).files == {(0, 1), (0, 2)}


def test_of_somebody_forgotten_whole_the_files_of_requests_go_too_also_those_that_link() -> None:
    linking = RECEIVED | {"subject": [AN, PHONE]}
    found = plan(gave("2026-01-01", "month"), linking, ANSWERED, answered=["e1", "e2"])

    assert found.facts == {(0, 0), (0, 1), (0, 2)}
    assert found.files == {(0, 1), (0, 2)}
    assert found.unsaid == {(0, 2)}
    assert plan(gave("2026-01-01", "month"), linking, ANSWERED).facts == {(0, 0)}


# -- laws

YEARS = timedelta(days=4 * 366)
NOW = durations.instant(histories.END + YEARS)
thoroughly = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _later(event: Event, place: int) -> Event:
    moved = {
        name: durations.moment(durations.instant(event[name]) + 2 * YEARS // timedelta(microseconds=1)).isoformat()
        for name in ("occurred_at", "recorded_at")
    }
    return event | moved | {"id": f"l{place}"}


def _forgotten(controller: str, dossier: Sequence[Fact]) -> retention.Plan:
    country = histories.REGISTER.controllers[controller].country
    return retention.plan(
        histories.REGISTER, dossier, controller, calendar(country), NOW, durations.instant(histories.START)
    )


def _whole(events: list[Event]) -> set[tuple[str, bytes]]:
    """The addresses, by controller, of persons of whom everything is forgotten."""
    ledger = Ledger(histories.REGISTER, events)
    dossiers = [
        (controller, ledger.dossier(controller, [f"{kind}|{value}".encode()]))
        for controller in histories.REGISTER.controllers
        for kind, value in histories.PEOPLE
    ]
    return {
        (controller, token)
        for controller, dossier in dossiers if _forgotten(controller, dossier).facts >= {one.place for one in dossier}
        for one in dossier for _, _, token, _ in one.identifiers
    }  # fmt: skip


def _yeses(events: list[Event], later: list[Event], at: int, *, forget: bool) -> set[Any]:
    """Every question that is answered by yes, where what may go of the earlier events was forgotten, or not."""
    before = Ledger(histories.REGISTER, events)
    ledger = Ledger(histories.REGISTER, [*events, *later])
    gone: dict[str, set[retention.Place]] = defaultdict(set)
    unread: dict[str, set[retention.Place]] = defaultdict(set)
    for controller in histories.REGISTER.controllers if forget else ():
        for kind, value in histories.PEOPLE:
            plan = _forgotten(controller, before.dossier(controller, [f"{kind}|{value}".encode()]))
            gone[controller] |= plan.facts
            unread[controller] |= plan.payloads
    found = set()
    for question in histories.questions():
        controller, purpose, channel, (kind, value) = question
        token = f"{kind}|{value}".encode()
        facts = [
            without_personal(one) if one.place in unread[controller] else one
            for one in ledger.dossier(controller, [token]) if one.place not in gone[controller]
        ]  # fmt: skip
        answer = decide(
            histories.REGISTER, facts, controller=controller, identifiers=[(kind, token)], purpose=purpose,
            channel=channel, at=at, dnc=ledger.snapshots,
        )  # fmt: skip
        if answer.allow:
            found.add(question)
    return found


laters = st.lists(st.one_of(histories.refusals(), histories.others(), histories.consents()), max_size=3).map(
    lambda events: [_later(event, place) for place, event in enumerate(events)]
)


@thoroughly
@given(histories.histories(most=10))
def test_forgetting_changes_no_answer_to_a_yes_and_no_yes_to_a_no(events: list[Event]) -> None:
    assert _yeses(events, [], NOW, forget=True) == _yeses(events, [], NOW, forget=False)


@thoroughly
@given(histories.histories(most=8), laters)
def test_after_forgetting_nothing_that_comes_later_is_a_yes_that_was_none(
    events: list[Event], later: list[Event]
) -> None:
    at = NOW + 4 * YEARS // timedelta(microseconds=1)

    assert _yeses(events, later, at, forget=True) <= _yeses(events, later, at, forget=False) | _unlinked(events, later)


permissions = st.lists(st.one_of(histories.consents(), histories.others()), min_size=2, max_size=6).map(
    lambda found: numbered(sorted(found, key=lambda one: one["recorded_at"]))
)


@thoroughly
@given(permissions, laters)
def test_a_person_forgotten_whole_is_reached_by_every_later_refusal_that_names_them(
    events: list[Event], later: list[Event]
) -> None:
    at = NOW + 4 * YEARS // timedelta(microseconds=1)

    assert _yeses(events, [], NOW, forget=True) == _yeses(events, [], NOW, forget=False)
    assert _yeses(events, later, at, forget=True) <= _yeses(events, later, at, forget=False) | _unlinked(events, later)


def _unlinked(events: list[Event], later: list[Event]) -> set[Any]:
    """The questions about persons forgotten whole whom nothing names later: nobody knows any more who they are."""
    named = {f"{one['type']}|{one['value']}".encode() for event in later for one in _said(event)}
    whole = _whole(events)
    return {
        question for question in histories.questions()
        if (token := f"{question[3][0]}|{question[3][1]}".encode()) not in named and (question[0], token) in whole
    }  # fmt: skip


def _said(event: Event) -> list[Event]:
    return [*event.get("subject", []), *(event[role] for role in ("old", "new") if role in event)]
