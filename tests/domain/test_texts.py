"""Which text stands, and which one a consent was about.

Seen to fail: a later text under the same version taken; a text of a source that does not serve the controller; one of
another controller; the first text of a version taken for one in another language.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consent_ledger.domain import register as registers
from consent_ledger.domain.service_events import text_hash
from consent_ledger.domain.texts import REGISTRAR, Text, event_id, shown, standing

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REGISTER = registers.compile(
    {
        "controllers": {"shop": {"name": "Shop"}, "other": {"name": "Other"}},
        "sources": {"web:shop": {"controllers": ["shop"]}},
    },
    1,
)


def text(words: str = "yes", **fields: Any) -> Text:
    plain: dict[str, Any] = {
        "controller": "shop", "id": "t", "version": 1, "language": "nl", "media_type": "text/plain",
        "source": REGISTRAR, "shard": 1, "position": 0, "recorded_at": NOON,
    }  # fmt: skip
    said = plain | fields
    named = event_id(said["controller"], said["id"], said["version"], said["language"])
    return Text(**said, text=words, hash=text_hash(words), event_id=named)


def test_the_first_text_of_a_version_stands_and_only_from_who_may_register_it() -> None:
    first, later = text(), text("no", recorded_at=NOON + timedelta(days=1))
    own, foreign = text("own", version=2, source="web:shop"), text("foreign", version=3, source="web:other")
    french, other = text("oui", language="fr"), text("other", controller="other", source="web:shop")

    assert standing(REGISTER, [first, later, own, foreign, french, other]) == [first, own, french]


def test_names_differ_wherever_texts_may() -> None:
    names = {
        event_id(*one) for one in [
            ("shop", "t", 1, "nl"), ("other", "t", 1, "nl"), ("shop", "u", 1, "nl"), ("shop", "t", 2, "nl"),
            ("shop", "t", 1, "fr"), ("shop", "t1", 1, "nl"),
        ]
    }  # fmt: skip

    assert len(names) == 6
    assert event_id("shop", "t", 1, "nl") in names


@pytest.mark.parametrize(
    ("evidence", "found", "how"),
    [
        ({"text_id": "t", "text_version": 2}, "two", "version"),
        ({"text_id": "t", "text_version": 1}, None, "ambiguous"),
        ({"text_id": "t", "text_version": 1, "language": "FR"}, "oui", "version"),
        ({"text_id": "t", "text_version": 2, "language": "fr"}, None, "unregistered"),
        ({"text_id": "t", "text_version": 1, "text_hash": text_hash("oui").upper()}, "oui", "exact"),
        ({"text_id": "t", "text_version": 1, "text_hash": text_hash("two")}, None, "differs"),
        ({"text_id": "x", "text_version": 1}, None, "unregistered"),
        ({"text_id": "t"}, None, "unnamed"),
        ({}, None, "unnamed"),
    ],
)
def test_a_text_is_found_where_it_is_certain(evidence: dict[str, Any], found: str | None, how: str) -> None:
    kept = [
        text("ja"), text("oui", language="fr"), text("two", version=2), text("theirs", version=2, controller="other"),
    ]  # fmt: skip

    one, said = shown(kept, "shop", evidence)

    assert (None if one is None else one.text, said) == (found, how)
