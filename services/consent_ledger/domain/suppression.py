"""The current state of one address as readers get it: on the suppressions topic, and under the HTTP decisions.

A row of the view keeps only the decisions that differ from those of an address with nothing on record; what is not in
it is the default of the register version under which the row was made.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from consent_ledger.domain.decision import CallRegisters, Decision, decide_touched, defaults, history_of
from consent_ledger.domain.durations import moment, rfc3339
from consent_ledger.domain.facts import Fact
from consent_ledger.domain.register import Register
from consent_ledger.domain.shape import Pattern, Shape, shape_of
from consent_ledger.domain.standing import History

PURPOSES = "!purposes"
CALL_REGISTER = "!dnc"
WATERMARK_KEY = b"!watermark"

_PATTERNS_MAX = 2000

TYPES = ("email", "phone", "postal", "device", "customer_no", "account_id")


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision as readers get it. Times are RFC 3339 in UTC; `valid_until` ends an `allow`, and only that one."""

    allow: bool
    reason: str
    reasons: tuple[str, ...] = ()
    since: str | None = None
    valid_until: str | None = None
    needs_dnc: str | None = None


# purpose → channel → answer
Answers: TypeAlias = dict[str, dict[str, Answer]]

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Answers).decode
_decode_written = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]]).decode
_Written: TypeAlias = msgspec.Raw | dict[str, msgspec.Raw]
_NOTHING_OWN = b"{}"


def suppression_key(controller: str, type: str, hash_: bytes) -> bytes:
    """Key of an address on the topic. `hash_` is the controller's keyed hash of it."""
    return f"{controller}/{type}/{hash_.hex()}".encode()


def purposes_key(controller: str) -> bytes:
    """Key of the record that says what holds for an address with nothing on record."""
    return f"{PURPOSES}/{controller}".encode()


def purposes_hash(controller: str) -> bytes:
    """Key of that record in the view, where all keys have the length of a hash."""
    return hashlib.sha256(purposes_key(controller)).digest()


def call_register_key(name: str) -> bytes:
    """Key of the record, on every partition, that says how old the snapshot of a do-not-call register is."""
    return f"{CALL_REGISTER}/{name}".encode()


def call_register_hash(name: str, partition: int) -> bytes:
    """Key of that record of one partition in the view."""
    return hashlib.sha256(call_register_key(name) + b"/%d" % partition).digest()


def call_register_state(snapshot_at: datetime, valid_until: datetime) -> bytes:
    """Encode what the view keeps of that record."""
    return _encode({"snapshot_at": rfc3339(snapshot_at), "valid_until": rfc3339(valid_until)})


def call_register_record(name: str, state: bytes, version: int) -> bytes:
    """The record of a do-not-call register: from `valid_until` on, no yes that needs the register counts."""
    return _encode({"register": name, "version": version, **msgspec.json.decode(state)})


def answer(decision: Decision) -> Answer:
    """Give a decision the form that readers get."""
    return Answer(
        allow=decision.allow,
        reason=decision.reason,
        reasons=decision.reasons,
        since=None if decision.since is None else rfc3339(moment(decision.since)),
        valid_until=None if decision.valid_until is None else rfc3339(moment(decision.valid_until)),
        needs_dnc=decision.needs_dnc,
    )


def decide_own(
    register: Register,
    facts: Sequence[Fact],
    *,
    controller: str,
    type: str,
    token: bytes,
    at: int,
    dnc: CallRegisters | None = None,
) -> tuple[bytes, int | None]:
    """Decide on one address and encode what differs from the defaults.

    Also returns the next instant (microseconds) at which time alone may change any of its answers, None if never.
    """
    # A snapshot of a do-not-call register says something of each number.
    shape = None if dnc else shape_of(facts, token)
    patterns = _patterns(register, controller, type)
    if shape is not None and (pattern := patterns.get(shape)) is not None:
        known = pattern.answer(facts, max([at, *[fact.recorded for fact in facts]]))
        if known is not None:
            return known
    history = history_of(register, facts, controller=controller, at=at, dnc=dnc)
    own, due = encode_touched(history, type, token)
    if shape is not None and (pattern := Pattern.of(own, due, facts, history)) is not None:
        if len(patterns) >= _PATTERNS_MAX:
            patterns.clear()
        patterns[shape] = pattern
    return own, due


@lru_cache(maxsize=256)
def _patterns(_register: Register, _controller: str, _type: str) -> dict[Shape, Pattern]:
    return {}


def encode_touched(history: History, type: str, token: bytes) -> tuple[bytes, int | None]:
    """Decide on one address and encode, for `decide_own`, whatever has been decided before."""
    register, controller = history.register, history.controller
    usual, usual_answers = defaults(register, controller, type), default_answers(register, controller, type)
    own: Answers = {}
    due: int | None = None
    for pair, decision in decide_touched(history, type=type, token=token).items():
        if decision is usual[pair]:
            continue
        if decision.due is not None and (due is None or decision.due < due):
            due = decision.due
        purpose, channel = pair
        given = answer(decision)
        if given != usual_answers[purpose][channel]:
            own.setdefault(purpose, {})[channel] = given
    return _encode(own), due


def nothing_allowed(register: Register, controller: str, type: str) -> bytes:
    """Encode a no to everything, for an address that cannot be judged."""
    no = Answer(allow=False, reason="UNAVAILABLE", reasons=("UNAVAILABLE",))
    own: Answers = {}
    for purpose, channel in defaults(register, controller, type):
        own.setdefault(purpose, {})[channel] = no
    return _encode(own)


def decode_own(own: bytes) -> Answers:
    """Read what a row of the view keeps."""
    return _decode(own)


@lru_cache(maxsize=4096)
def default_answers(register: Register, controller: str, type: str) -> Answers:
    """The answers for an address of this type with nothing on record. Do not change the result."""
    answers: Answers = {}
    for (purpose, channel), decision in defaults(register, controller, type).items():
        answers.setdefault(purpose, {})[channel] = answer(decision)
    return answers


def expand(register: Register, controller: str, type: str, own: bytes) -> Answers:
    """All answers of a row: the defaults of its register version, and over them what the row keeps."""
    answers = dict(default_answers(register, controller, type))
    for purpose, channels in _decode(own).items():
        answers[purpose] = {**answers.get(purpose, {}), **channels}
    return answers


def expand_written(register: Register, controller: str, type: str, own: bytes) -> dict[str, _Written]:
    """Do what `expand` does for answers as they are written, each read and written once for many rows."""
    written, by_channel = _written_defaults(register, controller, type)
    if own == _NOTHING_OWN:
        return written
    answers = dict(written)
    for purpose, channels in _decode_written(own).items():
        answers[purpose] = {**by_channel.get(purpose, {}), **channels}
    return answers


@lru_cache(maxsize=4096)
def _written_defaults(
    register: Register, controller: str, type: str
) -> tuple[dict[str, _Written], dict[str, dict[str, msgspec.Raw]]]:
    answers = default_answers(register, controller, type)
    by_purpose: dict[str, _Written] = {purpose: msgspec.Raw(_encode(channels)) for purpose, channels in answers.items()}
    by_channel = {
        purpose: {channel: msgspec.Raw(_encode(answer)) for channel, answer in channels.items()}
        for purpose, channels in answers.items()
    }
    return by_purpose, by_channel


def record(
    register: Register,
    *,
    controller: str,
    type: str,
    hash_: bytes,
    kid: str,
    place: tuple[int, int],
    version: int,
    recorded_at: datetime,
    own: bytes,
) -> bytes:
    """The topic's record of one address. `version` rises per key for ever; `place` orders nothing."""
    return _encode(
        {
            "controller": controller,
            "identifier": {"type": type, "hash": hash_.hex(), "kid": kid},
            "position": {"shard": place[0], "position": place[1]},
            "version": version,
            "recorded_at": rfc3339(recorded_at),
            "register": register.version,
            "decisions": expand_written(register, controller, type, own),
        }
    )


def purposes_record(
    register: Register, *, controller: str, kid: str, check: str, version: int, needs: Mapping[str, int]
) -> bytes:
    """The record of what holds for an address with nothing on record.

    `check` lets a reader see that it holds the right hash key; `needs` says, by purpose, under which register version a
    stored decision must at least have been made to count.
    """
    answers: dict[str, dict[str, Any]] = {}
    for type_ in TYPES:
        for purpose, channels in default_answers(register, controller, type_).items():
            answers.setdefault(purpose, {}).update(channels)
    return _encode(
        {
            "controller": controller,
            "kid": kid,
            "check": check,
            "version": version,
            "register": register.version,
            "needs": dict(needs),
            "decisions": answers,
        }
    )


def watermark_record(instant: datetime, seq: int, epoch: int) -> bytes:
    """The record that states: every event that Kafka held at `instant` is on this partition."""
    return _encode({"instant": rfc3339(instant), "seq": seq, "epoch": epoch})
