"""What would turn a no into a yes: tried out with the rules themselves, event by event (specification 6.8)."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any, Final, Literal, NamedTuple

import msgspec

from consent_ledger.domain import durations
from consent_ledger.domain.case import Case
from consent_ledger.domain.decision import CallRegisters, judge
from consent_ledger.domain.facts import SKEW, Fact, Token, fact
from consent_ledger.domain.identity import CONFIRMATION_WINDOW
from consent_ledger.domain.register import REFUSALS
from consent_ledger.domain.standing import CallRegister, History, Listing

By = Literal["person", "controller"]
_MOST_STEPS: Final = 3
_LONG: Final = 200
"""Facts from which on only single kinds of steps are tried, so that an explanation takes no more than a moment."""
_BEATEN: Final = REFUSALS | {"delivery-failed", "identifier-changed"}
"""What a permission must be later than."""
_ADULT: Final = 18
_VOIDED: Final = "event-voided"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An event that would help. `example`: what it says of itself, beside its controller and the address."""

    event: str
    by: By
    text: str
    example: dict[str, Any]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Events that together turn the answer into a yes. Instants are microseconds since 1970.

    They must be certainly later than `later_than`: by more than five minutes if from another source than what happened
    then. `until`: the last instant at which they help.
    """

    steps: tuple[Step, ...]
    later_than: int | None = None
    until: int | None = None


class Asked(NamedTuple):
    """A question in the terms of its case; `facts` are those known and past, and all voidings known."""

    case: Case
    facts: Sequence[Fact]
    identifiers: Sequence[tuple[str, Token]]
    as_of: int
    dnc: CallRegisters


class _Remedy(NamedTuple):
    """Steps of one kind; of one family, the first that helps is enough."""

    family: str
    steps: tuple[Step, ...]
    beats: bool = False
    until: int | None = None


class _Fresh:
    """A do-not-call register just imported, without the number."""

    def __init__(self, at: int) -> None:
        self._at = at

    def look_up(self, token: Token, at: int, as_of: int) -> Listing:  # noqa: ARG002 - as CallRegister says
        return Listing(self._at, None, "")


class _Known:
    """A do-not-call register as it was known."""

    def __init__(self, register: CallRegister, as_of: int) -> None:
        self._register = register
        self._as_of = as_of

    def look_up(self, token: Token, at: int, as_of: int) -> Listing:  # noqa: ARG002 - as CallRegister says
        return self._register.look_up(token, at, self._as_of)


def known(facts: Sequence[Fact], at: int, as_of: int) -> list[Fact]:
    """Give the facts known at `as_of` that have happened at `at`, and the voidings, which count for all time."""
    return [one for one in facts if one.recorded <= as_of and (one.time <= at or one.type == _VOIDED)]


def by_itself(case: Case) -> int | None:
    """Give the instant at which time alone turns a no into a yes: a birthday, an answer that arrives, a silence."""
    later = case
    while later.against and later.next is not None:
        now = later.next
        later = judge(case.standing, case.purpose, case.channel, now)
        if not later.against:
            return now
    return None


def changes(asked: Asked) -> tuple[Change, ...]:
    """Give the smallest sets of events that turn a no into a yes.

    None where events cannot, or where more than three kinds of them must, or more than one in a very long history.
    """
    trial = _Trial(asked)
    helpful = [one for one in trial.remedies() if not asked.case.against.keys() <= trial.against([one])]
    most = _MOST_STEPS if len(asked.facts) <= _LONG else 1
    for size in range(1, most + 1):
        found: dict[tuple[str, ...], Change] = {}
        for chosen in combinations(helpful, size):
            families = tuple(one.family for one in chosen)
            if len(set(families)) == size and families not in found and not trial.against(chosen):
                found[families] = trial.change(chosen)
        if found:
            return tuple(found.values())
    return ()


class _Trial:
    """The question asked again, just after events that have not happened."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._case = case = asked.case
        latest = max((one.time for one in asked.facts if one.time <= case.now), default=0)
        self._at = max(case.now, latest + SKEW + 1)
        self._channel = case.channel
        history = case.standing.history
        self._register, self._controller, shared = history.register, history.controller, history.shared
        served = (name for name, controllers in self._register.sources.items() if self._controller in controllers)
        self._source = next(served, None)
        mine = [one for one in asked.identifiers if one[1] in case.standing.addresses and one[1] not in shared]
        self._subject = [("subject", kind, token, False) for kind, token in (mine or asked.identifiers)[:1]]

    @cached_property
    def _instant(self) -> str:
        return durations.moment(self._at).isoformat()

    def against(self, chosen: Sequence[_Remedy]) -> frozenset[str]:
        """Give the codes that would still stand against the use."""
        steps = [step for one in chosen for step in one.steps]
        case = self._case
        dnc: dict[str, CallRegister] = {
            name: _Known(one, self._asked.as_of) for name, one in self._asked.dnc.items()
        }  # fmt: skip
        dnc.update((step.example["register"], _Fresh(self._at)) for step in steps if "register" in step.example)
        events = [self._fact(place, step) for place, step in enumerate(steps) if "register" not in step.example]
        history = History(
            self._register, [*self._asked.facts, *events], self._controller, at=self._at, as_of=durations.NEVER, dnc=dnc
        )
        tokens = tuple(dict.fromkeys(token for _, token in self._asked.identifiers))
        has_address = self._channel not in ("internal", "media")
        address = next(iter(case.standing.addresses)) if has_address else None
        standing = history.standing(tokens, address, case.terms.joint)
        return frozenset(judge(standing, case.purpose, self._channel, self._at).against)

    def change(self, chosen: Sequence[_Remedy]) -> Change:
        """Say what the steps must be later than, and until when they help."""
        beaten = [one.time for causes in self._case.against.values() for one in causes if one.type in _BEATEN]
        return Change(
            steps=tuple(step for one in chosen for step in one.steps),
            later_than=max(beaten, default=None) if any(one.beats for one in chosen) else None,
            until=min((one.until for one in chosen if one.until is not None), default=None),
        )

    def _fact(self, place: int, step: Step) -> Fact:
        """Make the fact of a step as the ledger would; a confirmation refers to the consent before it."""
        refers = {"consent_id": _own_id(place - 1)} if step.example.get("consent_id") == "" else {}
        return fact(
            event_id=_own_id(place), type=step.event, source=self._source or "", occurred_at=self._at,
            recorded_at=self._at, shard=-1, pos=place, register_version=self._register.version,
            identifiers=self._subject, body={"controllers": [self._controller], **step.example, **refers},
        )  # fmt: skip

    def remedies(self) -> Iterator[_Remedy]:
        """List what may help at all, the lesser first."""
        if self._source is not None:
            if self._case.is_consent:
                yield from self._consents()
            yield from self._waivers()
            yield from self._answers()
            yield from self._proofs()
        for name in self._case.terms.dnc:
            yield self._consulted(name)

    def _consulted(self, name: str) -> _Remedy:
        """Consult a do-not-call register anew; a number that stands in it only the person can take off."""
        example = {"register": name}
        text = f"A fresh snapshot of the do-not-call register {name} in which the number does not stand"
        step = Step(event="preference-register-imported", by="controller", text=f"{text}.", example=example)
        if "DNC_LISTED" in self._case.against:
            text = f"{text}, the person having taken it off."
            step = Step(event="preference-register-imported", by="person", text=text, example=example)
        return _Remedy(f"snapshot of {name}", (step,))

    def _consents(self) -> Iterator[_Remedy]:
        for consent, flaw in self._case.candidates:
            if flaw == "CONSENT_PENDING":
                step = Step(
                    event="consent-confirmed", by="person", example={"consent_id": _written(consent.event_id)},
                    text="A confirmation of the consent, from the address itself.",
                )  # fmt: skip
                yield _Remedy("confirmation", (step,), until=consent.time + CONFIRMATION_WINDOW)
        version = self._case.terms.min_text_version or 1
        said = {
            **self._named(), "origin": "data-subject", "mechanism": "button",
            "evidence": {"text_id": "text", "text_version": version, "ref": "proof"},
        }  # fmt: skip
        variants: tuple[tuple[str, dict[str, Any]], ...] = (
            ("", {}),
            (", with a declaration of age", {"age": {"declared_min_age": _ADULT}}),
            (", with a verified authorisation by the parents", {"parental": {"verified": True}}),
        )
        confirmed = Step(
            event="consent-confirmed", by="person", example={"consent_id": ""},
            text="Its confirmation from the address itself, within seven days.",
        )  # fmt: skip
        for with_what, more in variants:
            text = f"A fresh, provable consent of the person to this purpose, channel and address{with_what}."
            consent_step = Step(event="consent-given", by="person", text=text, example={**said, **more})
            steps = (consent_step, confirmed) if self._case.terms.double_opt_in else (consent_step,)
            yield _Remedy("consent", steps, beats=True)

    def _waivers(self) -> Iterator[_Remedy]:
        """List what the person may take back or enter into."""
        text = "The person takes the objection back, for exactly this purpose, channel and address."
        example = {**self._named(), "origin": "data-subject"}
        step = Step(event="objection-withdrawn", by="person", text=text, example=example)
        yield _Remedy("waiver", (step,), beats=True)
        met = dict.fromkeys(("collected_in_sale", "opt_out_offered", "similar_products"), True)
        text = "A new contract with this address; for marketing, collected in a sale of similar products with an offer "
        sale = Step(event="relationship-started", by="person", text=f"{text}to opt out.", example=met)
        yield _Remedy("sale", (sale,), beats=True)
        contact = {"initiated_by": "subject", "kind": "reply"}
        text = "Contact sought by the person: a call, a reply, an order."
        yield _Remedy("contact", (Step(event="contact-recorded", by="person", text=text, example=contact),))

    def _answers(self) -> Iterator[_Remedy]:
        """List what the controller may answer to each request that stands against the use."""
        told = {"subject_informed_at": self._instant}
        kinds = (
            ("RESTRICTED", "restriction-placed", "restriction-lifted", "restriction_id", told,
             "The restriction is lifted, the person having been told before."),
            ("ERASURE_REQUESTED", "erasure-requested", "erasure-refused", "request_id", {"grounds": "grounds"},
             "The request for erasure is refused, with grounds."),
            ("OBJECTION_PENDING", None, "objection-assessed", "objection_id",
             {"outcome": "rejected", "grounds": "grounds", **told},
             "The objection is rejected with compelling grounds, and the person has been told."),
        )  # fmt: skip
        for code, cause, event, refers, fields, text in kinds:
            steps = tuple(
                Step(event=event, by="controller", text=text, example={refers: _written(one.event_id), **fields})
                for one in self._case.against.get(code, ()) if cause in (None, one.type)
            )  # fmt: skip
            if steps:
                yield _Remedy(event, steps)

    def _proofs(self) -> Iterator[_Remedy]:
        text = "Proof that the address is the person's own."
        proof = Step(event="identifier-verified", by="person", text=text, example={})
        yield _Remedy("proof", (proof,), beats=True)
        if self._case.standing.reports and not self._case.standing.birth_days:
            born = durations.moment(self._at).replace(month=1, day=1)
            example = {"birth_date": born.replace(year=born.year - _ADULT - 1).date().isoformat()}
            text = "An established birth date, of an adult; the report of minority then does not count."
            yield _Remedy("age", (Step(event="age-established", by="person", text=text, example=example),))

    def _named(self) -> Mapping[str, list[str]]:
        return {"purposes": [self._case.purpose.id], "channels": [self._channel]}


def _own_id(place: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"step {place}")


def _written(event_id: bytes) -> str:
    """Write an event's id as its publisher did."""
    try:
        return str(uuid.UUID(bytes=event_id))
    except ValueError:
        return event_id.decode(errors="backslashreplace")
