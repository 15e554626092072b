"""Asks witnesses to cosign checkpoints (C2SP tlog-witness): each one's place is remembered, and proved to be continued.

A witness that is away, or says something else than we, is told of and otherwise passed over: its word is not signed, so
it must not be able to stop the log.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import httpx
from prometheus_client import Gauge

from consent_ledger.domain import checkpoint
from consent_ledger.runtime.postgres import Connection
from consent_ledger.store import log as tables
from consent_ledger.store import proofs
from consent_ledger.verifier.note import VerifierKey, open_note
from consent_ledger.verifier.tree import ProofError

log = logging.getLogger(__name__)

WITNESSED = Gauge("consent_witnessed_size", "Entries in the largest tree that a witness has signed", ["witness"])
WITNESS_WELL = Gauge("consent_witness_well", "1 if the witness signed when it was last asked", ["witness"])

_ASK_SECONDS: Final = 3.0
# Whoever did not answer is not waited for each time.
_REST_SECONDS: Final = 5.0
_SIZE_MAX_CHARACTERS: Final = 20
_ANSWER_MAX_BYTES: Final = 20_000


Prove: TypeAlias = Callable[[int, int], Awaitable[list[bytes]]]
"""Gives the consistency proof between two sizes."""


class WitnessError(Exception):
    """A witness did not sign; the text says why, and quotes nothing of what it said."""


class Witness:
    """One witness, and the size of the tree up to which it has seen the log, as far as is known."""

    def __init__(self, key: str, url: str) -> None:
        self.key = VerifierKey.parse(key)
        if not self.key.is_witness:
            raise ProofError("CONSENT_WITNESSES has a key that is no witness's")
        try:
            self._url = httpx.URL(f"{url.rstrip('/')}/add-checkpoint")
        except httpx.InvalidURL:
            self._url = httpx.URL()
        if self._url.scheme not in {"http", "https"}:
            raise ProofError(f"CONSENT_WITNESSES has no URL for {self.key.name}")
        self._seen = 0
        self._rests_until = 0.0

    async def sign(self, client: httpx.AsyncClient, note: bytes, prove: Prove) -> bytes:
        """Return the witness's signature line of a checkpoint. Raises `WitnessError`."""
        now = asyncio.get_running_loop().time()
        if now < self._rests_until:
            raise WitnessError("it did not answer a moment ago")
        try:
            answer = await self._ask(client, note, prove)
            if answer.status_code == httpx.codes.CONFLICT:
                self._seen = _size_of(answer, checkpoint.read(note).size)
                answer = await self._ask(client, note, prove)
        except (httpx.HTTPError, TimeoutError) as error:
            self._rests_until = now + _REST_SECONDS
            raise WitnessError(f"it does not answer: {type(error).__name__}") from None
        if answer.status_code != httpx.codes.OK:
            raise WitnessError(f"it refuses with status {answer.status_code}")
        line = self._own_line(note, answer.content)
        self._seen = checkpoint.read(note).size
        return line

    async def _ask(self, client: httpx.AsyncClient, note: bytes, prove: Prove) -> httpx.Response:
        proof = await prove(self._seen, checkpoint.read(note).size)
        lines = [f"old {self._seen}", *(base64.b64encode(one).decode() for one in proof), "", ""]
        async with asyncio.timeout(_ASK_SECONDS):
            return await client.post(self._url, content="\n".join(lines).encode() + note)

    def _own_line(self, note: bytes, said: bytes) -> bytes:
        """Find the line by which this witness has signed; what others may have put there is left out."""
        for line in said[:_ANSWER_MAX_BYTES].splitlines(keepends=True):
            try:
                open_note(note + line, [self.key])
            except ProofError:
                continue
            return line
        raise WitnessError("what it answers is no signature of its key")


def _size_of(answer: httpx.Response, ours: int) -> int:
    said = answer.text.strip()[:_SIZE_MAX_CHARACTERS]
    if not said.isascii() or not said.isdecimal():
        raise WitnessError("it has another root for the same size, or says nothing of its own")
    if int(said) > ours:
        raise WitnessError(f"it has signed a tree of {said} entries, and there are {ours}: was the log set back?")
    return int(said)


class Witnesses:
    """All witnesses of a log. Raises `ProofError` where a key is none, at once."""

    def __init__(self, witnesses: Mapping[str, str], quorum: int) -> None:
        self._witnesses = [Witness(key, url) for key, url in witnesses.items()]
        self._quorum = quorum
        if quorum > len(self._witnesses):
            raise ProofError(f"CONSENT_WITNESS_QUORUM is {quorum}, and CONSENT_WITNESSES has {len(self._witnesses)}")

    def __bool__(self) -> bool:
        return bool(self._witnesses)

    async def cosigned(self, client: httpx.AsyncClient, connection: Connection, note: bytes) -> bytes | None:
        """Return a checkpoint with all cosignatures that can be had; None where they are fewer than are asked for."""
        lines: list[bytes] = []
        for witness, said in zip(self._witnesses, await self._ask_all(client, connection, note), strict=True):
            name, size = witness.key.name, checkpoint.read(note).size
            if isinstance(said, bytes):
                lines.append(said)
                WITNESSED.labels(name).set(size)
            else:
                log.warning("a witness did not sign", extra={"witness": name, "reason": said})
            WITNESS_WELL.labels(name).set(isinstance(said, bytes))
            await tables.heard(connection, name, *((size, None) if isinstance(said, bytes) else (None, said)))
        if len(lines) < self._quorum:
            return None
        return note + b"".join(lines)

    async def _ask_all(self, client: httpx.AsyncClient, connection: Connection, note: bytes) -> list[bytes | str]:
        lock = asyncio.Lock()

        async def prove(old: int, new: int) -> list[bytes]:
            # A connection does one thing at a time.
            async with lock:
                return await proofs.consistency(connection, old, new)

        async def ask(witness: Witness) -> bytes | str:
            try:
                return await witness.sign(client, note, prove)
            except WitnessError as error:
                return str(error)

        return list(await asyncio.gather(*(ask(witness) for witness in self._witnesses)))
