"""Receipts of other consent tools as events, by the table of the tool and a mapping of its names to ours.

No permission is invented: what lacks its proof, its text's version, an affirmative act, a purpose or an instant is
refused with the reason. A refusal is never lost: where something is missing it counts in a wider sense. The same
receipt makes the same events, so one that is imported twice counts once.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from consent_ledger.domain import cloudevents, events
from consent_ledger.domain.adapters.shapes import Shape
from consent_ledger.domain.events import Rejection
from consent_ledger.domain.register import Register
from consent_ledger.domain.rules_consent import MECHANISMS
from consent_ledger.domain.suppression_list import Kind, Made, Refused

# A name of our own for UUIDs of version 5.
_NAMESPACE: Final = uuid.UUID("6b2f7c1e-53a4-5a0e-8f55-2f1f0b7c9d21")
_SKEW: Final = timedelta(minutes=5)
_ALL: Final = "all"
_MISSING: Final = "?"
_LIKE_NO: Final = frozenset(
    {"false", "0", "no", "off", "denied", "declined", "refused", "rejected", "revoked", "withdrawn", "withdraw",
     "opt_out", "opt-out", "optout", "opted_out", "opted-out", "unsubscribed"}
)  # fmt: skip


class Purpose(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a purpose of the tool is here. `text_id`, `text_version`: of the text shown, where no receipt says it."""

    purpose: str
    channels: list[str]
    text_id: str | None = None
    text_version: int | None = None


class ReceiptMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tool's names stand for here.

    `ignored`: purposes of the tool that are none of ours; a refusal of any other that has no name here is one of
    everything. `identifiers`: its types to ours; identifiers of other types are passed over. `mechanisms`: its words
    for how a consent was given, and `mechanism` where no receipt says it. `undated`: the instant of refusals that have
    none.
    """

    controller: str
    source: str
    purposes: dict[str, Purpose]
    identifiers: dict[str, Kind]
    ignored: list[str] = []
    mechanisms: dict[str, str] = {}
    mechanism: str | None = None
    undated: datetime | None = None


class _Choice(NamedTuple):
    """What a person said about one purpose of the tool. `said`: yes, no, or an objection; None: nothing."""

    name: str
    said: str | None
    part: Any


class _RefusedError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.refused = Refused(reason, detail)


def problems(mapping: ReceiptMapping, register: Register) -> Iterator[str]:
    """Find everything for which a mapping cannot be used with a register."""
    if mapping.controller not in register.controllers:
        yield f"controller {mapping.controller} is not registered"
    for name, purpose in mapping.purposes.items():
        found = register.purposes.get((mapping.controller, purpose.purpose))
        if found is None:
            yield f"purposes.{name}: {mapping.controller} has no purpose {purpose.purpose}"
        elif unknown := sorted(set(purpose.channels) - set(found.channels)):
            yield f"purposes.{name}: {purpose.purpose} has no channel {', '.join(unknown)}"
    if not mapping.identifiers:
        yield "identifiers names no type: nobody could be found"
    if mapping.undated is not None and mapping.undated.tzinfo is None:
        yield "undated needs a zone"


def at(value: Any, path: str) -> Any:
    """Follow a path; None where it leads nowhere."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal():
            value = value[int(step)] if int(step) < len(value) else None
        elif isinstance(value, list):
            value = next((one.get("value") for one in value if isinstance(one, dict) and one.get("key") == step), None)
        else:
            return None
    return value


class Receipts:
    """Makes events of receipts of one tool.

    `digest` is keyed by a secret of the controller, so that nobody can try whether an id stands for an address.
    """

    def __init__(
        self, shape: Shape, mapping: ReceiptMapping, register: Register, *, tool: str, digest: Callable[[bytes], bytes]
    ) -> None:
        self._shape = shape
        self._mapping = mapping
        self._register = register
        self._tool = tool
        self._digest = digest

    def read(self, receipt: Any, now: datetime) -> list[Made | Refused]:
        """Make an event of every choice in a receipt, or say why not; nothing where no choice was made."""
        if not isinstance(receipt, dict):
            return [Refused("BROKEN_RECEIPT", "a receipt is an object")]
        choices = list(self._choices(receipt))
        if not choices:
            return [Refused("NO_CHOICES", "the receipt says nothing about any purpose")]
        return [made for choice in choices for made in self._made(receipt, choice, now)]

    def _choices(self, receipt: Mapping[str, Any]) -> Iterator[_Choice]:
        shape = self._shape
        for part in _parts(receipt, shape.choices, keyed=shape.purpose == "*"):
            name = part["*"] if shape.purpose == "*" else at(part, shape.purpose)
            state = part["state"] if shape.state == "*" else at(part, shape.state)
            yield _Choice(_text(name), self._said(state), part)
            if shape.objection is not None and at(part, shape.objection) is False:
                yield _Choice(_text(name), "objection", part)

    def _said(self, state: Any) -> str | None:
        """Sort a state. Only the table's own values are a yes; whatever reads like a no is one."""
        for said, values in (("yes", self._shape.yes), ("no", self._shape.no)):
            if any(state is value or (isinstance(state, str) and state == value) for value in values):
                return said
        if _text(state).strip().casefold() in _LIKE_NO:
            return "no"
        known = any(state is value or (isinstance(state, str) and state == value) for value in self._shape.silent)
        return None if known else "unknown"

    def _made(self, receipt: Mapping[str, Any], choice: _Choice, now: datetime) -> Iterator[Made | Refused]:
        if choice.said is None or choice.name in self._mapping.ignored:
            return
        try:
            subject = self._subject(receipt)
            if choice.said in ("no", "objection"):
                for type_, data in self._refusals(choice):
                    yield self._refusal(type_, {"subject": subject, **data}, receipt, choice, now)
            else:
                yield self._consent(subject, receipt, choice, now)
        except _RefusedError as error:
            yield error.refused

    def _subject(self, receipt: Mapping[str, Any]) -> list[dict[str, str]]:
        found = []
        for named in self._shape.identifiers:
            for part in [receipt] if named.each is None else _list(at(receipt, named.each)):
                kind = named.kind[1:] if named.kind.startswith("=") else at(part, named.kind)
                value, type_ = _text(at(part, named.value)).strip(), self._mapping.identifiers.get(_text(kind))
                if type_ is not None and value not in ("", _MISSING):
                    found.append({"type": type_, "value": value})
        if not found:
            raise _RefusedError("NO_IDENTIFIER", "the receipt names nobody by an identifier that the mapping knows")
        return found

    # -- refusals

    def _refusals(self, choice: _Choice) -> Iterator[tuple[str, dict[str, Any]]]:
        """Say what a no is here; of a purpose that is not known, everything."""
        mapped = self._mapping.purposes.get(choice.name)
        objection = {"kind": "direct-marketing"}
        if mapped is None:
            yield "objection-raised", objection
            if choice.said == "no":
                yield "consent-withdrawn", {"purposes": _ALL}
            return
        scope: dict[str, Any] = {"purposes": [mapped.purpose], "channels": mapped.channels}
        registered = self._register.purposes.get((self._mapping.controller, mapped.purpose))
        rests_on_consent = registered is not None and registered.terms.basis == "consent"
        if choice.said == "objection" or not rests_on_consent:
            yield "objection-raised", {**scope, **objection}
        if choice.said == "no":
            yield "consent-withdrawn", scope

    def _refusal(
        self, type_: str, data: dict[str, Any], receipt: Mapping[str, Any], choice: _Choice, now: datetime
    ) -> Made | Refused:
        said = self._instant((*self._shape.refused_at, *self._shape.dated), receipt, choice)
        return self._event(type_, data, said, said or self._mapping.undated or now)

    # -- consents

    def _consent(
        self, subject: list[dict[str, str]], receipt: Mapping[str, Any], choice: _Choice, now: datetime
    ) -> Made | Refused:
        if choice.said != "yes":
            raise _RefusedError("NOT_AFFIRMATIVE", "what the receipt says of the purpose is implied, or not known")
        mapped = self._mapping.purposes.get(choice.name)
        if mapped is None:
            raise _RefusedError("UNKNOWN_PURPOSE", "the mapping does not know the purpose")
        for path, wanted in self._shape.given_by:
            if at(receipt, path) != wanted and not (wanted is False and at(receipt, path) is None):
                raise _RefusedError("NOT_GIVEN", f"the receipt's {path} does not stand for a consent that was given")
        said = self._instant(self._shape.dated, receipt, choice)
        if said is None:
            raise _RefusedError("BAD_DATE", "the consent has no instant with a zone")
        if said > now + _SKEW:
            raise _RefusedError("FUTURE_CONSENT", "a consent that is still to come never counts")
        data = {
            "subject": subject, "purposes": [mapped.purpose], "channels": mapped.channels, "origin": "import",
            "mechanism": self._mechanism(receipt), "evidence": self._evidence(receipt, mapped),
        }  # fmt: skip
        return self._event("consent-given", data, said, said)

    def _mechanism(self, receipt: Mapping[str, Any]) -> str:
        theirs = at(receipt, self._shape.mechanism)
        mechanism = self._mapping.mechanism if theirs is None else self._mapping.mechanisms.get(_text(theirs))
        if mechanism not in MECHANISMS:
            raise _RefusedError("NOT_AFFIRMATIVE", "nothing says by which affirmative act the consent was given")
        return mechanism

    def _evidence(self, receipt: Mapping[str, Any], mapped: Purpose) -> dict[str, Any]:
        id_ = at(receipt, self._shape.id)
        if not at(receipt, self._shape.proof) or not isinstance(id_, str | int) or not str(id_):
            raise _RefusedError("NO_EVIDENCE", "the receipt does not say where its proof is kept")
        text_id = at(receipt, self._shape.text_id) or mapped.text_id
        version = _whole(at(receipt, self._shape.text_version))
        if at(receipt, self._shape.text_version) is None:
            version = mapped.text_version
        if not isinstance(text_id, str) or version is None:
            raise _RefusedError("NO_TEXT_VERSION", "nothing says which version of which text was shown")
        return {"text_id": text_id, "text_version": version, "ref": f"{self._tool}:{id_}"}

    # -- both

    def _instant(self, paths: tuple[str, ...], receipt: Mapping[str, Any], choice: _Choice) -> datetime | None:
        for path in paths:
            for part in (choice.part, receipt):
                if (found := _moment(at(part, path))) is not None:
                    return found
        return None

    def _event(self, type_: str, data: dict[str, Any], said: datetime | None, occurred_at: datetime) -> Made | Refused:
        data = {"controllers": [self._mapping.controller], **data}
        source, written = self._mapping.source, None if said is None else said.isoformat()
        content = events.canonical([self._tool, type_, source, written, data])
        event_id = uuid.uuid5(_NAMESPACE, self._digest(content).hex())
        value = cloudevents.build(type_, source, occurred_at, data, event_id)
        read = events.decode(None, value, ())
        if isinstance(read, Rejection):
            return Refused(read.reason, read.detail)
        event, rejection = read if isinstance(read, tuple) else (read, None)
        return Made(event, value, rejection.reason if rejection else event.warning)


def _parts(receipt: Mapping[str, Any], path: str, *, keyed: bool) -> Iterator[Any]:
    """Find the choices at a path. `keyed`: they are an object by the purposes' names, or a list of such objects."""
    outer, _, inner = path.partition("/")
    found = at(receipt, outer)
    for part in found if isinstance(found, list) else [found]:
        if inner:
            yield from _parts(part, inner, keyed=keyed)
        elif isinstance(part, dict):
            yield from ({"*": name, "state": state} for name, state in part.items()) if keyed else [part]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else _MISSING


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and value >= 0 else None


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if found is None or found.tzinfo is None else cloudevents.utc(found)
    except ValueError:
        return None
