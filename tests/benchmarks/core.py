"""Measures what one event costs in Python alone, step by step, without servers: `python -m benchmarks.core`."""

import argparse
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from timeit import Timer
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import Mock

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.console import Console
from rich.table import Table

from benchmarks.traffic import LETTERS, Letter, consent, objection, withdrawal
from consent_ledger.cli.register import shipped
from consent_ledger.domain import events, leaf, suppression
from consent_ledger.domain import register as registers
from consent_ledger.domain.decision import decide_address
from consent_ledger.domain.events import Event
from consent_ledger.domain.facts import Dossier, Fact, fact
from consent_ledger.domain.identifiers import normalise
from consent_ledger.domain.leaf import micros
from consent_ledger.domain.register import Register
from consent_ledger.domain.strictjson import read
from consent_ledger.recorder.prepare import Preparer, _Person
from consent_ledger.runtime.keys import KeyFile
from consent_ledger.store.ledger import Draft

_KEY: Final = bytes(range(32))
_LETTER: Final = LETTERS[0]
_ADDRESS: Final = "an.peeters@example.be"
_TOKEN: Final = bytes(32)
_NOW: Final = datetime(2026, 11, 22, tzinfo=UTC)
_REPEATS: Final = 5
_HISTORIES: Final = (1, 4, 20)
_WIDE_HISTORIES: Final = (1, 2, 5, 20, 200)
_ASKED: Final[dict[str, Any]] = {"controller": "shop", "type": "email", "token": _TOKEN, "at": micros(_NOW)}


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of CPU for one call: the least of several runs."""

    step: str
    case: str
    microseconds: float


def steps() -> "Iterator[Step]":
    """Give everything that is measured: what it is, in which case, and a call that does it once."""
    for some in (_recorder(), _viewer(), _relay(), _wide()):
        yield from some


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.core", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    costs = [Cost(step=step, case=case, microseconds=_cost(call)) for step, case, call in steps()]
    if parser.parse_args().json:
        sys.stdout.buffer.write(msgspec.json.encode(costs) + b"\n")
    else:
        _show(costs)
    return 0


Step = tuple[str, str, Callable[[], Any]]


def _cost(call: Callable[[], Any]) -> float:
    timer = Timer(call, timer=time.process_time)
    number, _ = timer.autorange()
    return min(timer.repeat(_REPEATS, number)) / number * 1e6


def _messages() -> dict[str, bytes]:
    return {
        "consent": consent(_LETTER, _ADDRESS, 1),
        "withdrawal": withdrawal(_LETTER, _ADDRESS),
        "objection": objection(_LETTER, _ADDRESS),
    }


def _register() -> tuple[dict[str, Any], Register]:
    document: dict[str, Any] = {}
    for part in shipped().values():
        document = registers.merge(document, part)
    return document, registers.compile(document, 1)


def _decoded(value: bytes) -> Event:
    event = events.decode(None, value, ())
    assert isinstance(event, Event)
    return event


# -- recorder


class _Acquainted(OrderedDict[bytes, _Person]):
    """Knows every person already, all by one key."""

    _person = _Person(uuid.UUID(int=1), _KEY, AESGCM(_KEY))

    def __contains__(self, _anchor: object) -> bool:
        return True

    def __missing__(self, _anchor: bytes) -> _Person:
        return self._person

    def move_to_end(self, key: bytes, last: bool = True) -> None:  # noqa: FBT001, FBT002
        """Have no order."""


class _Primed(Preparer):
    """A preparer with register and keys at hand."""

    def __init__(self, document: Mapping[str, Any], register: Register) -> None:
        super().__init__(Mock(spec=KeyFile), production=False)
        self._document, self._register = dict(document), register
        self._controllers = dict.fromkeys(register.controllers, _KEY)
        self._service = {"digest": _KEY, "quarantine": _KEY}
        self._persons = _Acquainted()

    def draft(self, value: bytes) -> Draft:
        """Prepare one record."""
        record: Any = SimpleNamespace(offset=1, timestamp=0, key=None, value=value, headers=())
        preparing: Any = self.prepare(None, 1, [record])  # type: ignore[arg-type]
        try:
            preparing.send(None)
        except StopIteration as ended:
            return ended.value[0][0]  # type: ignore[no-any-return]
        raise AssertionError("preparing waits for something")


def _recorder() -> Iterator[Step]:
    document, register = _register()
    preparer = _Primed(document, register)
    yield "normalise", "email", lambda: normalise("email", _ADDRESS)
    for case, value in _messages().items():
        yield "read JSON strictly", case, lambda value=value: read(value)  # type: ignore[misc]
        yield "decode", case, lambda value=value: events.decode(None, value, ())  # type: ignore[misc]
        yield "prepare, decode included", case, lambda value=value: preparer.draft(value)  # type: ignore[misc]
        draft = preparer.draft(value)
        yield "hash the leaf", case, lambda draft=draft: _leaf(draft)  # type: ignore[misc]


def _leaf(draft: Draft) -> bytes:
    return leaf.leaf_hash(
        shard=1, position=1, event_id=draft.event_id, type=draft.type, occurred_at=draft.occurred_at or _NOW,
        recorded_at=_NOW, offset=1, register_version=1, body=draft.body, commitment=draft.commitment, tags=draft.tags,
    )  # fmt: skip


# -- viewer


def _fact(value: bytes, pos: int) -> Fact:
    event = _decoded(value)
    return _made(event, events.read_body(events.body_bytes(event)), pos)


def _made(event: Event, body: Mapping[str, Any], pos: int) -> Fact:
    # An hour apart, so that on one clock the order is certain.
    moment = _NOW - timedelta(days=30) + timedelta(hours=pos)
    return fact(
        event_id=event.id, type=event.type, source=event.source, occurred_at=moment, recorded_at=moment, shard=1,
        pos=pos, register_version=1, identifiers=(("subject", "email", _TOKEN, False),), body=body,
    )  # fmt: skip


def _histories() -> dict[str, list[Fact]]:
    messages = _messages()
    alternating = [messages["withdrawal" if pos % 2 else "consent"] for pos in range(max(_HISTORIES))]
    found = {f"{length} entries": alternating[:length] for length in _HISTORIES}
    found["consent, objection"] = [messages["consent"], messages["objection"]]
    return {case: [_fact(value, pos) for pos, value in enumerate(values)] for case, values in found.items()}


def _viewer() -> Iterator[Step]:
    _, register = _register()
    for case, value in _messages().items():
        event = _decoded(value)
        body = events.body_bytes(event)
        yield "make the fact", case, lambda event=event, body=body: _made(event, events.read_body(body), 1)  # type: ignore[misc]
    for case, facts in _histories().items():
        stored = Dossier(tuple(facts)).dumps()
        yield "read the dossier", case, lambda stored=stored: Dossier.loads(stored)  # type: ignore[misc]
        yield "write the dossier", case, lambda facts=facts: Dossier(tuple(facts)).dumps()  # type: ignore[misc]
        yield "decide", case, lambda facts=facts: _decide(register, facts)  # type: ignore[misc]
        yield "decide and encode", case, lambda facts=facts: _decide_own(register, facts)  # type: ignore[misc]


def _decide(register: Register, facts: Sequence[Fact]) -> Any:
    return decide_address(register, facts, controller=_LETTER.controller, type="email", token=_TOKEN, at=micros(_NOW))


def _decide_own(register: Register, facts: Sequence[Fact]) -> tuple[bytes, int | None]:
    return suppression.decide_own(
        register, facts, controller=_LETTER.controller, type="email", token=_TOKEN, at=micros(_NOW)
    )


# -- the decision core at a register of many purposes


def _wide() -> Iterator[Step]:
    """Fold one more event into a stored history and decide what it changed, at 20 purposes of 3 channels."""
    register = registers.compile(_wide_document(), 1)
    letter = Letter("shop", "purpose-0")
    messages = [consent(letter, _ADDRESS, 1), withdrawal(letter, _ADDRESS)]
    for length in _WIDE_HISTORIES:
        facts = [_fact(messages[pos % 2], pos) for pos in range(length)]
        yield "fold, 20 x 3", f"{length} before", _folding(register, facts, _fact(messages[length % 2], length))
        refusal = _fact(objection(letter, _ADDRESS), length)
        yield "fold, 20 x 3", f"{length} before, objection", _folding(register, facts, refusal)
        # Two facts of one instant have no shape, so that all is decided.
        undecided = [*facts, msgspec.structs.replace(refusal, time=facts[-1].time)]
        yield "decide all, 20 x 3", f"{length} before, objection", _deciding(register, undecided)


def _wide_document() -> dict[str, Any]:
    purposes = [
        {
            "controller": "shop", "id": f"purpose-{number}", "basis": "consent", "direct_marketing": True,
            "channels": ["email", "internal", "media"], "min_text_version": 1 + number % 2,
            "double_opt_in": number % 10 == 1, "consent_ttl": ["P3Y", None, "P1Y", None][number % 4],
        }
        for number in range(20)
    ]  # fmt: skip
    return {
        "controllers": {"shop": {"country": "BE"}}, "purposes": purposes,
        "sources": {"web:shop": {"controllers": ["shop"]}},
    }  # fmt: skip


def _folding(register: Register, facts: Sequence[Fact], more: Fact) -> Callable[[], Any]:
    stored = Dossier(tuple(facts)).dumps()

    def fold() -> Any:
        after = [*Dossier.loads(stored).facts, more]
        return suppression.decide_own(register, after, **_ASKED), Dossier(tuple(after)).dumps()

    return fold


def _deciding(register: Register, facts: Sequence[Fact]) -> Callable[[], Any]:
    return lambda: suppression.decide_own(register, facts, **_ASKED)


# -- relay


def _relay() -> Iterator[Step]:
    _, register = _register()
    for case, facts in _histories().items():
        own, _ = _decide_own(register, facts)
        yield "make the record", case, lambda own=own: _record(register, own)  # type: ignore[misc]


def _record(register: Register, own: bytes) -> bytes:
    return suppression.record(
        register, controller=_LETTER.controller, type="email", hash_=_TOKEN, kid="kid", place=(1, 1), version=1,
        recorded_at=_NOW, own=own,
    )  # fmt: skip


def _show(costs: Sequence[Cost]) -> None:
    table = Table(title="CPU of one event, µs", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("step", "case"):
        table.add_column(column)
    table.add_column("µs", justify="right")
    for cost in costs:
        table.add_row(cost.step, cost.case, f"{cost.microseconds:,.1f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
