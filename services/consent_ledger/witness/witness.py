"""A witness of logs (C2SP tlog-witness): cosigns a checkpoint if it continues what it signed before, and never else.

What it has signed last is kept, log by log, in a directory that one process holds; kept before it is answered.
"""

import base64
import binascii
import fcntl
import hashlib
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from consent_ledger.domain import checkpoint
from consent_ledger.domain.checkpoint import Head
from consent_ledger.runtime.logkey import WitnessKey
from consent_ledger.runtime.objects import Objects
from consent_ledger.verifier.note import VerifierKey, open_checkpoint
from consent_ledger.verifier.tree import EMPTY, ProofError, check_consistency

TEXT: Final = "text/plain; charset=utf-8"
_SIZE: Final = "text/x.tlog.size"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_PROOF_MAX: Final = 63


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int
    content: bytes
    media_type: str = TEXT


class _Asked(NamedTuple):
    old: int
    proof: list[bytes]
    note: bytes
    head: Head


class Witness:
    """Signs for some logs, each known by its verifier key, whose name is the log's origin.

    Raises BlockingIOError when another process holds the directory. The methods block, and may be called from any
    thread.
    """

    def __init__(self, key: WitnessKey, logs: Iterable[VerifierKey], directory: Path) -> None:
        self._key = key
        self._logs = {log.name: log for log in logs}
        directory.mkdir(parents=True, exist_ok=True)
        self._held = (directory / "lock").open("w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            raise
        self._signed = Objects(str(directory))
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give up the directory."""
        self._held.close()

    def add_checkpoint(self, body: bytes, seconds: int) -> Answer:
        """Cosign a checkpoint at so many seconds since 1970, or refuse as the specification says."""
        try:
            asked = _read(body)
        except ValueError as error:
            return _refused(400, str(error))
        log = self._logs.get(asked.head.origin)
        if log is None:
            return _refused(404, "this log is not known here")
        try:
            open_checkpoint(asked.note, log)
        except ProofError:
            return _refused(403, "no key that is trusted for this log has signed the checkpoint")
        if asked.old > asked.head.size:
            return _refused(400, "the old size is larger than the checkpoint's")
        with self._lock:
            return self._continue(asked, seconds)

    def _continue(self, asked: _Asked, seconds: int) -> Answer:
        """Compare with what was signed last, and keep what is signed now: both under the lock."""
        name = f"{hashlib.sha256(asked.head.origin.encode()).hexdigest()}.checkpoint"
        kept = self._signed.get(name)
        last = checkpoint.read(kept) if kept is not None else Head(asked.head.origin, 0, EMPTY)
        if asked.old != last.size or (asked.head.size == last.size and asked.head.root != last.root):
            return Answer(409, f"{last.size}\n".encode(), _SIZE)
        try:
            check_consistency(last.size, asked.head.size, last.root, asked.head.root, asked.proof)
        except ProofError:
            return _refused(422, "the proof does not show that the tree continues the one signed last")
        line = self._key.cosign(asked.note, seconds)
        self._signed.put(name, asked.note + line)
        return Answer(200, line)


def _read(body: bytes) -> _Asked:
    """Take a request apart. Raises ValueError."""
    lines, blank, note = body.partition(b"\n\n")
    try:
        old, *proof = lines.decode("ascii").split("\n")
        hashes = [base64.b64decode(line, validate=True) for line in proof]
    except (ValueError, binascii.Error):
        raise ValueError("this is no request to add a checkpoint") from None
    found = _OLD.fullmatch(old)
    if not blank or found is None or len(hashes) > _PROOF_MAX or any(len(one) != len(EMPTY) for one in hashes):
        raise ValueError("this is no request to add a checkpoint")
    return _Asked(int(found[1]), hashes, note, checkpoint.read(note))


def _refused(status: int, why: str) -> Answer:
    return Answer(status, f"{why}\n".encode())
