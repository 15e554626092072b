"""`POST /v1/subjects/lookup`: an officer is shown a person, once the ledger has recorded that they look, and why."""

import hmac
import uuid
from datetime import timedelta
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from fastapi import Request, Response
from msgspec import Meta

from consent_ledger.api import questions
from consent_ledger.api.access import Access
from consent_ledger.api.answers import Item, Place, Several
from consent_ledger.api.body import json_response, preferred_wait, read_body
from consent_ledger.api.database import Database
from consent_ledger.api.decisions import Decisions
from consent_ledger.api.looks import WAIT_SECONDS, Looks
from consent_ledger.api.problems import ProblemError, forbidden, unavailable
from consent_ledger.api.questions import Question
from consent_ledger.api.timelines import Entry, Identifier, Person, Reader, Suppression
from consent_ledger.domain.event_parts import MAX_IDENTIFIERS
from consent_ledger.domain.identifiers import normalise_or_raw
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys, view
from consent_ledger.store.decisions import BehindError, behind_barrier

BODY_MAX_BYTES: Final = 1_048_576

_POOL_SIZE: Final = 2

Reason = Annotated[str, Meta(min_length=1, max_length=2_000, pattern=r"\S")]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose entries, at which controller, and why. Either identifiers of one person, or the id of one of the events.

    `viewer`: who looks, where the key does not say it. At most `limit` entries, those after the place `after`.
    `openings`: each entry with what proves its personal fields (`opening`).
    """

    controller: questions.Name
    reason: Reason
    subject: Annotated[list[questions.Address], Meta(min_length=1, max_length=MAX_IDENTIFIERS)] | None = None
    event_id: uuid.UUID | None = None
    viewer: questions.Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 200
    after: Place | None = None
    openings: bool = False

    def __post_init__(self) -> None:
        """Ask for one of the two."""
        if (self.subject is None) == (self.event_id is None):
            raise ValueError("Expected subject or event_id, and not both")


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What would be answered now about one identifier of the person, for each purpose and channel it can serve."""

    type: str
    value: str
    decisions: list[Any]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What an officer is shown: entries oldest recording first; `next`: go on `after` this place, null at the end."""

    controller: str
    entries: list[Entry]
    next: Place | None
    identifiers: list[Identifier]
    answers: list[Answers]
    suppression: list[Suppression]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The entry that records the look. `digest`: HMAC-SHA-256 of the bytes shown, under the controller's hash key."""

    event_id: uuid.UUID
    position: Place
    recorded_at: Any
    digest: str


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: the record of the look, and what it shows."""

    look: Look
    shown: msgspec.Raw


class _Found(NamedTuple):
    """A person as found, the key of the controller, and the identifiers by which was asked, by hash."""

    person: Person
    key: bytes
    given: dict[bytes, tuple[str, str]]


_decode = msgspec.json.Decoder(Asked).decode
_encode = msgspec.json.Encoder().encode


class Lookup:
    """Shows persons to officers; what cannot be recorded is not shown."""

    def __init__(
        self, access: Access, looks: Looks, decisions: Decisions, keks: KeyEncryptionKeys, clock: Clock,
        settings: Settings,
    ) -> None:  # fmt: skip
        self._access = access
        self._looks = looks
        self._officers = Database(settings.dsn, "consent_officer", _POOL_SIZE)
        self._decisions = decisions
        self._keks = keks
        self._clock = clock
        self._patience = timedelta(milliseconds=settings.barrier_ms)
        self._registers = view.LastRegister()

    async def close(self) -> None:
        """Close what officers' rights were used through."""
        await self._officers.close()

    async def post(self, request: Request) -> Response:
        """Answer one request. With `Prefer: wait=N` the ledger has N seconds to record the look, else 10."""
        key = await self._access.require(request, "audit")
        asked = _read(await read_body(request, BODY_MAX_BYTES))
        if not key.acts_for(asked.controller):
            raise forbidden()
        found = await self._officers.read(lambda connection: self._find(connection, asked))
        shown = await self._shown(asked, found.person)
        body = _encode(shown)
        digest = "hmac-sha256:" + hmac.digest(found.key, body, "sha256").hex()
        said = {
            "controllers": [asked.controller],
            **_whose(asked, found),
            "entered_by": asked.viewer or f"api-key:{key.id}",
            "reason": asked.reason,
            "api_key": key.id,
            "shown": len(shown.entries),
            "digest": digest,
        }
        ((event_id, recorded),) = await self._looks.record([said], preferred_wait(request) or WAIT_SECONDS)
        look = Look(
            event_id=event_id,
            position=Place(recorded.shard, recorded.position),
            recorded_at=recorded.recorded_at,
            digest=digest,
        )
        return json_response(Looked(look=look, shown=msgspec.Raw(body)))

    # -- finding

    async def _find(self, connection: Connection, asked: Asked) -> _Found:
        found = await keys.controller_keys(connection, self._keks)
        if asked.controller not in found:
            raise ProblemError(404, "unknown-controller", "no register that was ever loaded names this controller")
        key = found[asked.controller].key
        given = {
            address_hash(key, one.type, value): (one.type, value)
            for one in asked.subject or ()
            for value in (normalise_or_raw(one.type, one.value)[0],)
        }
        try:
            async with behind_barrier(connection, self._patience, self._clock) as snapshot:
                register = await self._registers.of(connection, snapshot.register_version)
                reader = Reader(connection, self._keks, register, asked.controller, key, openings=asked.openings)
                wanted, alone = [(kind, hash_) for hash_, (kind, _) in given.items()], None
                if asked.event_id is not None:
                    wanted, alone = await reader.by_event(asked.event_id)
                values = {hash_: value for hash_, (_, value) in given.items()}
                return _Found(await reader.person(snapshot, wanted, values, alone), key, given)
        except BehindError:
            raise unavailable("the view") from None

    async def _shown(self, asked: Asked, person: Person) -> Shown:
        entries = person.entries
        if asked.after is not None:
            places = [entry.position for entry in entries]
            if asked.after not in places:
                raise ProblemError(422, "invalid", "after is not the place of an entry of this person")
            entries = entries[places.index(asked.after) + 1 :]
        page = entries[: asked.limit]
        return Shown(
            controller=asked.controller,
            entries=page,
            next=page[-1].position if len(page) < len(entries) else None,
            identifiers=person.identifiers,
            answers=await self._answers(asked.controller, person),
            suppression=person.suppression,
        )

    async def _answers(self, controller: str, person: Person) -> list[Answers]:
        """Ask what a mail tool would be answered, identifier by identifier."""
        known = [(one.type, one.value) for one in person.identifiers if one.value is not None]
        asked = [Question(controller, [questions.Address(kind, value)]) for kind, value in known]
        answered = (await self._decisions.answer(asked)).decisions if asked else []
        return [
            Answers(type=kind, value=value, decisions=_each(answer))
            for (kind, value), answer in zip(known, answered, strict=True)
        ]


def _read(body: bytes) -> Asked:
    """Read a request. Raises `ProblemError` 400 for what is no JSON, 422 for a malformed one, saying where."""
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        place = str(error).rpartition(" - at ")[2].strip("`") if " - at " in str(error) else "$"
        if "missing required field" in str(error):
            place = str(error).partition(" - at ")[0].rpartition("field ")[2].strip("`")
        raise ProblemError(422, "invalid", f"not valid: {place}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "not-json", "the body is not JSON") from None


def _whose(asked: Asked, found: _Found) -> dict[str, Any]:
    """Name the one identifier of a look, if it can be one under which the person has a key, so that it can be read.

    Only where none can be read any more the look names the event by which was asked instead.
    """
    anchors = found.person.anchors
    own = [one for hash_, one in found.given.items() if hash_ in anchors]
    choice = next(iter([*own, *anchors.values(), *found.given.values()]), None)
    if choice is None:
        return {"viewed": asked.event_id}
    return {"subject": [{"type": choice[0], "value": choice[1]}]}


def _each(answer: Item | Several) -> list[Any]:
    return list(answer.decisions) if isinstance(answer, Several) else [answer]
