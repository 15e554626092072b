"""A whole receipt of each consent tool, with the mapping and the register under which it is a consent."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from builders import REGISTER
from consent_ledger.domain import register as registers
from consent_ledger.domain.adapters.receipts import ReceiptMapping, Receipts
from consent_ledger.domain.adapters.shapes import SHAPES
from consent_ledger.domain.suppression_list import Made, Refused

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TIME = "2026-03-01T12:00:00+00:00"
SHOP = registers.compile(
    {
        **REGISTER,
        "purposes": [
            *REGISTER["purposes"],
            {
                "controller": "shop-be",
                "id": "offers",
                "basis": "legitimate_interests",
                "channels": ["email"],
                "direct_marketing": True,
            },
        ],
    },
    1,
)
MAPPING: dict[str, Any] = {
    "controller": "shop-be",
    "source": "web:shop-be",
    "purposes": {
        "news": {"purpose": "newsletter", "channels": ["email"]},
        "offers": {"purpose": "offers", "channels": ["email"]},
    },
    "ignored": ["cookies"],
    "identifiers": {"email": "email", "Email": "email", "userId": "account_id"},
    "mechanisms": {"checkbox": "unticked-checkbox", "banner": "implied"},
}
ONETRUST = {
    "receiptId": "r-1",
    "identifier": "an@example.be",
    "identifierType": "Email",
    "requestInformation": "eyJhbGciOi.form.sig",
    "purposes": [{"Id": "news", "TransactionType": "CONFIRMED"}],
    "interactionDate": TIME,
    "customPayload": {"textId": "news-nl", "textVersion": 3, "mechanism": "checkbox"},
    "test": False,
}
DIDOMI = {
    "id": "d-1",
    "user": {"id": "u", "organization_user_id": "77", "email": "an@example.be"},
    "consents": {"purposes": [{"id": "news", "enabled": True}], "channels": []},
    "status": "confirmed",
    "created_at": "2026-03-01T12:00:00.000Z",
    "proofs": ["proof-1"],
    "metadata": {"text_id": "news-nl", "text_version": "3", "mechanism": "checkbox"},
}
TRANSCEND = {
    "partition": "main",
    "timestamp": "2026-02-01T12:00:00Z",
    "identifiers": [{"name": "email", "value": "an@example.be"}, {"name": "shoeSize", "value": "42"}],
    "purposes": [{"purpose": "news", "enabled": True, "timestamp": TIME, "sourceSystem": "form"}],
    "metadata": [
        {"key": "recordId", "value": "t-1"},
        {"key": "textId", "value": "news-nl"},
        {"key": "textVersion", "value": "3"},
        {"key": "mechanism", "value": "checkbox"},
    ],
}
IUBENDA = {
    "id": "i-1",
    "timestamp": TIME,
    "subject": {"id": "7", "email": "an@example.be", "verified": False},
    "preferences": {"news": True},
    "legal_notices": [{"identifier": "news-nl", "version": "3"}],
    "proofs": [{"content": "{}", "form": "<form>", "mechanism": "checkbox"}],
    "ip_address": "192.0.2.1",
}
NIO = {
    "_id": "n-1",
    "userId": "an-77",
    "orgKey": "news-nl",
    "version": 3,
    "doneBy": {"userId": "an-77", "role": "USER"},
    "lastUpdate": "2026-03-01T12:00:00Z",
    "groups": [{"key": "mail", "label": "Mail", "consents": [{"key": "news", "label": "News", "checked": True}]}],
    "metaData": {"mechanism": "checkbox"},
}
WHOLE: dict[str, dict[str, Any]] = {
    "onetrust": ONETRUST, "didomi": DIDOMI, "transcend": TRANSCEND, "iubenda": IUBENDA, "nio": NIO,
}  # fmt: skip


def receipts(tool: str, **mapping: Any) -> Receipts:
    said = msgspec.convert({**MAPPING, **mapping}, ReceiptMapping)
    return Receipts(SHAPES[tool], said, SHOP, tool=tool, digest=lambda content: hashlib.sha256(content).digest())


def read(tool: str, receipt: Any, **mapping: Any) -> list[Made | Refused]:
    return receipts(tool, **mapping).read(receipt, NOW)
