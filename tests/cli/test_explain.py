"""`consent decide --explain` on a running installation, and `consent rules` without one.

Seen to fail: a list asked about without the explanations it asks for; a yes printed as a no; the instant that a
permission must be later than left out.
"""

import json

from cli.installed import Up, consent
from cli.people import NEWSLETTER, gave, somebody, withdrew
from cli.test_commands import decided, publish
from consent_ledger.domain.reasons import RULES

WHY = ("--explain", "--reason", "the customer called")


def test_an_answer_is_explained_to_people_and_to_programs(up: Up) -> None:
    person = somebody()
    publish(up, gave(person), withdrew(person, time="2026-11-03T10:00:00Z"))
    decided(up, person, reason="CONSENT_WITHDRAWN")

    told = consent("decide", *NEWSLETTER, person, *WHY, data=up.data)
    data = consent("decide", *NEWSLETTER, person, *WHY, "--json", data=up.data)
    plain = consent("decide", *NEWSLETTER, person, "--json", data=up.data)

    assert (told.status, data.status) == (1, 1)
    for part in ("Art. 7(3)", "consent-withdrawn", "consent-given", "What would change it", "later than 2026-11-03"):
        assert part in told.out
    assert person not in told.out + data.out
    assert data.data.pop("explanation")["reason"] == "CONSENT_WITHDRAWN"
    assert "explanation" not in plain.data


def test_a_list_is_not_explained() -> None:
    answer = consent("decide", *NEWSLETTER, "--file", __file__, "--out", "/nowhere/x.csv", "--explain")

    assert answer.status == 2
    assert "one ADDRESS" in answer.err


def test_the_rule_book_can_be_printed_without_a_server() -> None:
    told, data = consent("rules"), consent("rules", "--json")

    assert (told.status, data.status) == (0, 0)
    assert all(code in told.out for code in RULES)
    rules = [json.loads(line) for line in data.out.splitlines()]
    assert [rule["reason"] for rule in rules] == list(RULES)
    assert rules[0] == {
        "reason": "UNKNOWN_CONTROLLER", "allow": False, "articles": ["Art. 5(2)", "Art. 24"], "rows": ["G1"],
        "text": RULES["UNKNOWN_CONTROLLER"].text,
    }  # fmt: skip


def test_a_sending_of_the_past_is_judged_by_what_was_known_then_and_by_what_is_known_now(up: Up) -> None:
    person = somebody()
    publish(up, gave(person))
    asked = decided(up, person, reason="CONSENT")
    moment = asked.data["recorded_at"]
    publish(up, withdrew(person, time=moment))
    decided(up, person, reason="CONSENT_WITHDRAWN")

    then = consent("decide", *NEWSLETTER, person, "--at", moment, "--as-of", moment, "--json", data=up.data)
    now = consent("decide", *NEWSLETTER, person, "--at", moment, "--json", data=up.data)
    wrong = consent("decide", *NEWSLETTER, person, "--as-of", "yesterday", data=up.data)

    assert (then.status, then.data["reason"]) == (0, "CONSENT")
    assert (now.status, now.data["reason"]) == (1, "CONSENT_WITHDRAWN")
    assert wrong.status == 2
