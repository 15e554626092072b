"""`POST /v1/confirmations` from events through Kafka.

Seen to fail: answered for another controller's key; a stale view believed; the second sign-up within thirty days asked
for again.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.served import Api, bearer
from builders import confirmed, email, given
from consent_ledger.store.decisions import Snapshot

Address = Callable[[], str]


async def asked(api: Api, consent: dict[str, Any], address: str, key: str | None = None, **more: Any) -> Any:
    body = {"controller": "garage-be", "consent_id": consent["id"], "email": address, **more}
    return await api.client.post("/v1/confirmations", json=body, headers=bearer(key))


def entered(address: str) -> dict[str, Any]:
    garage = {"controllers": ["garage-be"], "source": "web:garage-be", "purposes": ["club"]}
    return given(email(address), time=datetime.now(UTC).isoformat(), **garage)


async def test_an_address_is_asked_to_confirm_once(api: Api, address: Address) -> None:
    an = address()
    first, second = entered(an), entered(an)
    await api.recorded(first)
    may = await asked(api, first, an.upper())
    await api.recorded(second)
    again = await asked(api, second, an)
    await api.recorded(
        confirmed(first, controllers=["garage-be"], source="web:garage-be", time=datetime.now(UTC).isoformat())
    )
    over = await asked(api, first, an)

    assert may.json() == {"send": True, "reason": "CONFIRM"}
    assert again.json() == {"send": False, "reason": "ASKED_ALREADY"}
    assert over.json() == {"send": False, "reason": "NOT_PENDING"}


async def test_what_is_not_known_is_a_no(api: Api, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    an = address()
    consent = entered(an)
    await api.recorded(consent)
    nobody = await asked(api, {"id": str(uuid.uuid4())}, an)
    no_address = await asked(api, consent, "nobody")
    nowhere = await asked(api, consent, an, controller="elsewhere")
    monkeypatch.setattr(Snapshot, "horizon", datetime.now(UTC) - timedelta(hours=1), raising=False)
    monkeypatch.setattr(Snapshot, "__setattr__", lambda self, name, value: (
        None if name == "horizon" else object.__setattr__(self, name, value)
    ))  # fmt: skip
    stale = await asked(api, consent, an)

    assert [one.json()["reason"] for one in (nobody, no_address, nowhere)] == ["NO_SUCH_CONSENT"] * 3
    assert stale.json() == {"send": False, "reason": "STALE"}


async def test_only_who_may_ask_about_the_controller_is_answered(api: Api, address: Address) -> None:
    an = address()
    consent = entered(an)
    await api.recorded(consent)
    other, reader = await api.key("decide", controllers=["shop-nl"]), await api.key("publish")

    refused = [(await asked(api, consent, an, key)).status_code for key in (other, reader)]
    wrong = await asked(api, consent, an, campaign="x")

    assert refused == [403, 403]
    assert (wrong.status_code, an in wrong.text) == (422, False)
