"""Texts that subjects are shown when they consent: which stand, and which one an event was about (Art. 7(1))."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from consent_ledger.domain.register import Register

REGISTRAR: Final = "consent-cli"
"""The source of texts that an operator registers for any controller."""
_NAMESPACE: Final = uuid.UUID("6f0e0a54-6b3c-5f0e-9d0b-9a53d7c9a8d1")


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A text as registered at one controller, and the entry that keeps it. `hash`: `sha256:` and hex, of its UTF-8."""

    controller: str
    id: str
    version: int
    language: str
    hash: str
    media_type: str
    text: str
    source: str
    event_id: uuid.UUID
    shard: int
    position: int
    recorded_at: datetime

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What can have one text only."""
        return self.controller, self.id, self.version, self.language


def event_id(controller: str, text_id: str, version: int, language: str) -> uuid.UUID:
    """Name the event that registers a text: the ledger takes no two texts under one name."""
    return uuid.uuid5(_NAMESPACE, "\0".join((controller, text_id, str(version), language)))


def standing(register: Register, texts: Iterable[Text]) -> list[Text]:
    """Leave out what changes nothing, of texts in the order of recording.

    That is what a source says that does not serve the controller, and what comes second: a version, once registered,
    keeps its text for ever.
    """
    kept: dict[tuple[str, str, int, str], Text] = {}
    for one in texts:
        if one.source == REGISTRAR or register.serves(one.source, one.controller):
            kept.setdefault(one.key, one)
    return list(kept.values())


def shown(texts: Iterable[Text], controller: str, evidence: Mapping[str, Any]) -> tuple[Text | None, str]:
    """Find the text that an event names as shown, and say in one word how sure that is.

    `exact`: the event names its hash. `version`: it names id and version, and there is one such text, or one in its
    language. Nothing is found, and the word says why: `unnamed`, `unregistered`, `ambiguous` (in several languages, and
    the event does not say which), `differs` (the event names another hash).
    """
    version = [
        one for one in texts
        if (one.controller, one.id, one.version) == (controller, evidence.get("text_id"), evidence.get("text_version"))
    ]  # fmt: skip
    hash_, language = evidence.get("text_hash"), evidence.get("language")
    if evidence.get("text_id") is None or evidence.get("text_version") is None:
        return None, "unnamed"
    if not version:
        return None, "unregistered"
    if isinstance(hash_, str):
        exact = [one for one in version if one.hash.removeprefix("sha256:") == hash_.lower().removeprefix("sha256:")]
        return (exact[0], "exact") if exact else (None, "differs")
    if isinstance(language, str):
        version = [one for one in version if one.language.lower() == language.lower()]
        if not version:
            return None, "unregistered"
    return (version[0], "version") if len(version) == 1 else (None, "ambiguous")
