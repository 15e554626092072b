"""What a dossier keeps of an entry, from what its body says and what of the personal part can be read.

Seen to fail: a birth date that is gone taken for none.
"""

from datetime import date

import pytest

from consent_ledger.domain.facts import UNREADABLE, words


@pytest.mark.parametrize(
    ("body", "personal", "birth_day"),
    [
        ({}, None, None),
        ({"personal": ["subject"]}, None, None),
        ({"personal": ["birth_date", "subject"]}, {"birth_date": "2012-05-05"}, date(2012, 5, 5).toordinal()),
        ({"personal": ["birth_date", "subject"]}, None, UNREADABLE),
        ({"personal": ["birth_date", "subject"]}, {"entered_by": "jan"}, UNREADABLE),
    ],
)
def test_a_consent_remembers_that_it_gave_a_birth_date(
    body: dict[str, list[str]], personal: dict[str, str] | None, birth_day: int | None
) -> None:
    assert words("consent-given", body, personal)["birth_day"] == birth_day
