"""The order of events in a file of scenarios.

Seen to fail: events admitted in the order of the file.
"""

import itertools

from consent_ledger.domain.scenario import evaluate

_SAID = {
    "source": "web", "controllers": ["north"], "subject": [{"type": "email", "value": "an@example.be"}],
    "purposes": ["news"], "channels": ["email"],
}  # fmt: skip
_CONSENT = {
    **_SAID, "id": "consent", "type": "consent-given", "origin": "data-subject", "mechanism": "button",
    "evidence": {"text_id": "text", "text_version": 1, "ref": "form"},
    "occurred_at": "2026-01-10T09:00:00Z", "recorded_at": "2026-01-10T09:00:00Z",
}  # fmt: skip
_WITHDRAWAL = {
    **_SAID, "id": "withdrawal", "type": "consent-withdrawn",
    "occurred_at": "2026-02-10T09:00:00Z", "recorded_at": "2026-02-10T09:00:00Z",
}  # fmt: skip
_REPEATED = {**_WITHDRAWAL, "recorded_at": "2026-09-01T09:00:00Z"}
_REGISTER = {
    "controllers": {"north": {"country": "BE"}},
    "purposes": [
        {"controller": "north", "id": "news", "basis": "consent", "channels": ["email"], "direct_marketing": True}
    ],
    "sources": {"web": {"controllers": ["north"]}},
    "dnc_registers": {},
}


def test_a_repeated_refusal_counts_from_its_first_recording_wherever_it_stands() -> None:
    """An audit as of a time between the two recordings knows the refusal (specification 6.1, 6.3)."""
    asked = {
        "controller": "north", "subject": _SAID["subject"], "purpose": "news", "channel": "email",
        "at": "2026-06-01T09:00:00Z", "as_of": "2026-06-01T09:00:00Z",
    }  # fmt: skip
    for events in itertools.permutations([_CONSENT, _WITHDRAWAL, _REPEATED]):
        scenario = {"register": _REGISTER, "events": list(events), "expectations": [asked]}
        assert evaluate(scenario) == [(False, "CONSENT_WITHDRAWN")]
