"""`POST /v1/confirmations`: whether the one mail of a double opt-in may go out (domain.md 2.6)."""

from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

import msgspec
from fastapi import Request, Response
from msgspec import Meta

from consent_ledger.api.access import Access
from consent_ledger.api.body import decode, json_response, read_body
from consent_ledger.api.database import Database
from consent_ledger.api.problems import forbidden
from consent_ledger.domain import confirmation, durations
from consent_ledger.domain.errors import IdentifierError
from consent_ledger.domain.identifiers import normalise
from consent_ledger.domain.keyedhash import address_hash
from consent_ledger.runtime.clock import Clock
from consent_ledger.runtime.keys import KeyEncryptionKeys
from consent_ledger.runtime.postgres import Connection
from consent_ledger.runtime.settings import Settings
from consent_ledger.store import keys, view
from consent_ledger.store.decisions import BehindError, behind_barrier

BODY_MAX_BYTES: Final = 65_536


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request: the consent that is to be confirmed, and the e-mail address as it was entered."""

    controller: Annotated[str, Meta(min_length=1, max_length=200)]
    consent_id: UUID
    email: Annotated[str, Meta(max_length=1000)]


class Answered(msgspec.Struct, frozen=True):
    """Whether the mail may be sent, now and once. `reason`: CONFIRM if so.

    NO_SUCH_CONSENT: nothing of the kind is recorded of this address, or its purposes ask for no confirmation.
    NOT_FROM_FORM: it was imported or came from somebody else. NOT_PENDING: it counts, or can no longer. ASKED_ALREADY:
    within the last 30 days. STALE: not known at the moment.
    """

    send: bool
    reason: str


class Confirmations:
    """Answers whoever sends the mails of a double opt-in."""

    def __init__(
        self, access: Access, database: Database, keks: KeyEncryptionKeys, clock: Clock, settings: Settings
    ) -> None:
        self._access = access
        self._database = database
        self._keks = keks
        self._clock = clock
        self._patience = timedelta(milliseconds=settings.barrier_ms)
        self._max_staleness = timedelta(seconds=settings.max_staleness)
        self._registers = view.LastRegister()

    async def post(self, request: Request) -> Response:
        """Answer one request. Raises `ProblemError`."""
        key = await self._access.require(request, "decide")
        asked = decode(await read_body(request, BODY_MAX_BYTES), Asked)
        if not key.acts_for(asked.controller):
            raise forbidden()
        reason = await self._database.read(lambda connection: self._answer(connection, asked))
        return json_response(Answered(reason == "CONFIRM", reason))

    async def _answer(self, connection: Connection, asked: Asked) -> str:
        hash_keys = await keys.controller_keys(connection, self._keks)
        try:
            token = address_hash(hash_keys[asked.controller].key, "email", normalise("email", asked.email))
        except (KeyError, IdentifierError):
            return "NO_SUCH_CONSENT"
        try:
            async with behind_barrier(connection, self._patience, self._clock) as snapshot:
                now = self._clock.now(snapshot.now)
                if snapshot.horizon < now - self._max_staleness:
                    return "STALE"
                found = (await snapshot.dossiers([token])).get(token)
                register = await self._registers.of(connection, snapshot.register_version)
        except BehindError:
            return "STALE"
        facts = found[1].facts if found else ()
        return confirmation.may_ask(
            register, facts, controller=asked.controller, token=token, consent_id=asked.consent_id.bytes,
            at=durations.instant(now),
        )  # fmt: skip
