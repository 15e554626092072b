"""Certificates of erasure: what was destroyed, with the proofs that the log has both the erasure and these figures."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

from consent_ledger.verifier.note import VerifierKey
from consent_ledger.verifier.proof import Proven, check_proof
from consent_ledger.verifier.tree import ProofError

FORMAT: Final = "consent-ledger/erasure-certificate@1"


class Certified(NamedTuple):
    """What a certificate proves: `claims` as the log has them, and the entries of the erasure and of the answer."""

    claims: dict[str, Any]
    erasure: Proven
    answer: Proven


def is_certificate(raw: bytes) -> bool:
    """Tell whether a file is meant to be a certificate."""
    return raw.lstrip()[:1] == b"{"


def digest(claims: dict[str, Any]) -> str:
    """Give the digest of what is claimed, as the answer to the subject carries it: of JSON, sorted, without blanks."""
    text = json.dumps(claims, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def check_certificate(
    raw: bytes, log: VerifierKey, witnesses: Iterable[VerifierKey] = (), quorum: int = 0
) -> Certified:
    """Check a certificate: both entries are in the log, one orders this erasure, the other commits to what is claimed.

    Raises `ProofError`.
    """
    known = list(witnesses)
    try:
        document = json.loads(raw)
        claims, proofs = document["claims"], document["proofs"]
        erasure, answer = (check_proof(proofs[name].encode(), log, known, quorum) for name in ("erasure", "answer"))
        wanted = UUID(claims["erasure"]).bytes
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ProofError("this file is no certificate") from None
    if document.get("format") != FORMAT:
        raise ProofError("this certificate is of an unknown format")
    order = _said(erasure, "erasure-executed")
    if erasure.entry.event_id != wanted or order.get("request_id") != claims.get("request_id"):
        raise ProofError("the proof is of another erasure")
    if claims.get("controller") not in (order.get("controllers") or ()):
        raise ProofError("the erasure does not name this controller")
    said = _said(answer, "request-answered")
    if said.get("request_id") != claims.get("request_id") or claims.get("controller") not in said.get(
        "controllers", ()
    ):
        raise ProofError("the answer is to another request")
    if said.get("digest") != digest(claims):
        raise ProofError("what is claimed is not what was answered")
    return Certified(claims, erasure, answer)


def _said(proven: Proven, type: str) -> dict[str, Any]:
    """Give the body of an entry of one type."""
    body = proven.body[1] if isinstance(proven.body, list) and len(proven.body) > 1 else None
    if proven.entry.type != type or not isinstance(body, dict):
        raise ProofError(f"the proof is not of an entry of type {type}")
    return body
