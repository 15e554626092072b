"""One realistic message of every type of event, as schemas/examples shows them to publishers."""

import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from consent_ledger.domain.service_events import text_hash

_FIRST: Final = datetime.fromisoformat("2026-03-02T08:15:30.250Z")
_EMAIL: Final = {"type": "email", "value": "an.peeters@example.be"}
_PHONE: Final = {"type": "phone", "value": "+32470112233"}
_SUBJECT: Final = [_EMAIL]
_EVIDENCE: Final = {"text_id": "newsletter-email-nl", "text_version": 3, "ref": "form-snapshot-2026-03-02-081530"}
_TEXT: Final = "Ja, stuur mij de nieuwsbrief per e-mail. Afmelden kan altijd via de link onderaan."
_DEKRA: Final = ["dekra-be"]
_REQUEST: Final = "0199c3a0-5b00-7000-8000-0000000000f1"
_EARLIER: Final = "0199c3a0-5b00-7000-8000-0000000000f2"
_BY_STAFF: Final = {"entered_by": "staff:jan", "received_via": "phone"}

_Said = tuple[str, dict[str, Any]]

_SAID: Final[dict[str, _Said]] = {
    "consent-given": ("web:dekra-be", {
        "schema_version": 1, "controllers": _DEKRA, "subject": _SUBJECT, "purposes": ["newsletter-email"],
        "channels": ["email"], "origin": "data-subject", "mechanism": "unticked-checkbox", "evidence": _EVIDENCE,
        "country": "BE", "age": {"declared_min_age": 18}, "ip": "192.0.2.17",
    }),
    "consent-confirmed": ("web:dekra-be", {"controllers": _DEKRA, "consent_id": _EARLIER}),
    "consent-withdrawn": ("esp:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "purposes": ["newsletter-email"], "channels": ["email"],
        "received_via": "list-unsubscribe",
    }),
    "objection-raised": ("staff:dekra-be", {
        "controllers": _DEKRA, "controller_scope": "group", "subject": [_EMAIL, _PHONE], "kind": "direct-marketing",
        "purposes": "all", **_BY_STAFF,
    }),
    "objection-assessed": ("staff:dekra-be", {
        "controllers": _DEKRA, "objection_id": _EARLIER, "outcome": "rejected", "purposes": ["legal-claims"],
        "grounds": "Needed as evidence in pending proceedings.", "subject_informed_at": "2026-03-02T08:00:00Z",
    }),
    "objection-withdrawn": ("web:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "purposes": ["crm-relationship-file"], "channels": ["internal"],
        "origin": "data-subject", "evidence": _EVIDENCE,
    }),
    "complaint-received": ("esp:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "channels": ["email"], "kind": "spam-feedback-loop",
    }),
    "restriction-placed": ("web:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "ground": "accuracy-contested",
    }),
    "restriction-lifted": ("staff:dekra-be", {
        "controllers": _DEKRA, "restriction_id": _EARLIER, "subject_informed_at": "2026-03-01T09:00:00Z",
        "entered_by": "staff:jan",
    }),
    "erasure-requested": ("web:dekra-be", {"controllers": _DEKRA, "subject": _SUBJECT}),
    "erasure-executed": ("staff:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "request_id": _REQUEST, "entered_by": "staff:jan",
    }),
    "erasure-refused": ("staff:dekra-be", {
        "controllers": _DEKRA, "request_id": _REQUEST, "grounds": "Art. 17(3)(b)", "entered_by": "staff:jan",
    }),
    "identifier-changed": ("web:dekra-be", {
        "controllers": _DEKRA, "old": _EMAIL, "new": {"type": "email", "value": "an.nieuw@example.be"},
        "origin": "data-subject", "verified": True,
    }),
    "identifiers-linked": ("crm:dekra-be", {
        "controllers": _DEKRA, "subject": [_EMAIL, {"type": "customer_no", "value": "C-10017"}],
    }),
    "identifier-verified": ("web:dekra-be", {"controllers": _DEKRA, "subject": _SUBJECT}),
    "delivery-failed": ("esp:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "channels": ["email"], "bounce": "hard", "reason": "550 5.1.1",
    }),
    "preference-register-imported": ("dncm-feed", {
        "register": "be-dncm", "numbers": [{"value": "+32470112233", "registered_at": "2026-01-15T00:00:00Z"}],
        "count": 1,
    }),
    "relationship-started": ("crm:bechtle-bv", {
        "controllers": ["bechtle-bv"], "subject": _SUBJECT, "sale_ref": "SO-4711", "collected_in_sale": True,
        "opt_out_offered": True, "similar_products": True, "opted_out_at_collection": False,
    }),
    "relationship-ended": ("crm:socomec", {"controllers": ["socomec"], "subject": _SUBJECT}),
    "contact-recorded": ("crm:socomec", {
        "controllers": ["socomec"], "subject": _SUBJECT, "initiated_by": "subject", "kind": "order",
    }),
    "repermission-sent": ("esp:socomec", {
        "controllers": ["socomec"], "subject": _SUBJECT, "purpose": "e-prospecting-consent",
    }),
    "age-established": ("staff:contactexpert", {
        "controllers": ["contactexpert"], "subject": _SUBJECT, "birth_date": "2011-06-01", "entered_by": "staff:eva",
    }),
    "event-voided": ("staff:dekra-be", {
        "controllers": _DEKRA, "voids": _EARLIER, "reason": "entered for the wrong person",
        "entered_by": "staff:jan", "approved_by": "staff:dpo",
    }),
    "request-received": ("staff:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "request_id": _REQUEST, "article": "15", "received_via": "email",
    }),
    "identity-requested": ("staff:dekra-be", {"controllers": _DEKRA, "request_id": _REQUEST, "article": "15"}),
    "identity-confirmed": ("staff:dekra-be", {"controllers": _DEKRA, "request_id": _REQUEST, "article": "15"}),
    "request-extended": ("staff:dekra-be", {
        "controllers": _DEKRA, "request_id": _REQUEST, "article": "15", "reason": "records of several years",
    }),
    "request-answered": ("staff:dekra-be", {
        "controllers": _DEKRA, "request_id": _REQUEST, "article": "15", "outcome": "complete",
        "digest": "sha256:9f2c8b7e6d5a4c3b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29180f7e6d5c4b3",
    }),
    "recipient-notified": ("staff:dekra-be", {
        "controllers": _DEKRA, "request_id": _REQUEST, "article": "19", "recipient": "Salesforce Germany GmbH",
    }),
    "purpose-registered": ("staff:dekra-be", {
        "purpose": {
            "controller": "dekra-be", "id": "newsletter-email", "basis": "consent", "channels": ["email"],
            "direct_marketing": True, "evidence_retention": "P10Y",
        },
        "valid_from": "2026-04-01T00:00:00Z",
    }),
    "register-loaded": ("staff:dekra-be", {
        "document": {
            "controllers": {"dekra-be": {"name": "DEKRA Belgium NV", "group": "dekra", "country": "BE"}},
            "purposes": [
                {"controller": "dekra-be", "id": "newsletter-email", "basis": "consent", "channels": ["email"],
                 "direct_marketing": True},
            ],
            "sources": {"web:dekra-be": {"controllers": ["dekra-be"]}},
            "dnc_registers": {},
        },
        "valid_from": "2026-04-01T00:00:00Z",
    }),
    "subject-viewed": ("desk", {
        "controllers": _DEKRA, "subject": _SUBJECT, "entered_by": "staff:dpo", "reason": "request of 2 March",
        "api_key": "5d0c1f8a77be", "shown": 7,
        "digest": "hmac-sha256:4c1d8b7e6d5a4c3b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29180f7e6d5c4b3",
    }),
    "text-registered": ("consent-cli", {
        "controllers": _DEKRA, "text_id": "newsletter-email-nl", "text_version": 3, "language": "nl",
        "text": _TEXT, "text_hash": text_hash(_TEXT), "media_type": "text/plain",
    }),
    "retention-run": ("consent-cli", {
        "controllers": _DEKRA, "payloads": 120, "index_rows": 90, "quarantined": 3, "kept": 30,
        "began_at": "2026-03-02T02:00:00Z",
    }),
    "hold-placed": ("staff:dekra-be", {
        "controllers": _DEKRA, "subject": _SUBJECT, "reason": "claim before the court of first instance",
        "entered_by": "staff:jan",
    }),
    "hold-lifted": ("staff:dekra-be", {
        "controllers": _DEKRA, "hold_id": _EARLIER, "reason": "judgment is final", "entered_by": "staff:jan",
    }),
    "rebuild-run": ("consent-cli", {
        "drill": True, "applied": [12, 40210, 39877], "register": 4, "addresses": 61204, "differences": 0, "written": 0,
        "digest": "sha256:4c1d8b7e6d5a4c3b2a1908f7e6d5c4b3a29180f7e6d5c4b3a29180f7e6d5c4b3",
        "began_at": "2026-03-02T03:00:00Z",
    }),
    "erasure-carried-out": ("consent-viewer", {
        "controllers": _DEKRA, "erasure": _EARLIER, "payloads": 4,
        "digest": "sha256:9f2b7c61d04e8a35b1c7f0e2d3a4958677c8d9eafb0c1d2e3f405162738495a6",
    }),
}  # fmt: skip


def example(type: str) -> dict[str, Any]:
    """Give a CloudEvent of this type in structured mode; raises KeyError for an unknown type."""
    source, data = _SAID[type]
    number = list(_SAID).index(type)
    return {
        "specversion": "1.0",
        "id": str(uuid.UUID(int=uuid.UUID("0199c3a0-5b00-7000-8000-000000000000").int + number)),
        "source": source,
        "type": type,
        "time": (_FIRST + timedelta(minutes=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data,
    }
