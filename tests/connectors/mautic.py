"""A stand-in for Mautic, made from its public API description, that takes nothing which is not described there.

As Mautic does, it gives an empty page as a list, figures as texts, and writes a reason over another one unless the
contact has unsubscribed by himself.
"""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connectors.webserver import Answer, Request

USER, PASSWORD = "connector", "password-of-the-user"
_BASIC: Final = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_PARAMETERS: Final = {"search", "start", "limit", "orderBy", "orderByDir", "publishedOnly", "minimal"}
_COLUMNS: Final = {"id": "id", "date_added": "dateAdded", "date_modified": "dateModified"}
_CHANNELS: Final = {"email", "sms"}
_FIELDS: Final = {"email", "mobile", "phone", "firstname", "lastname"}


class Mautic:
    """The state of a Mautic."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)
        self.contacts: dict[int, dict[str, Any]] = {}
        self.added: list[tuple[int, str, dict[str, Any]]] = []
        self.refuse: Answer | None = None

    # -- what a test or a person does

    def enter(self, **fields: str) -> int:
        assert fields.keys() <= _FIELDS
        id_ = len(self.contacts) + 1
        self.contacts[id_] = {"fields": fields, "dnc": {}, "dateAdded": self._tick(), "dateModified": None}
        return id_

    def leave(self, id_: int, channel: str, reason: int = 1) -> None:
        self.contacts[id_]["dnc"][channel] = (reason, "")

    def come_back(self, id_: int, channel: str) -> None:
        del self.contacts[id_]["dnc"][channel]

    def dnc(self, id_: int) -> dict[str, int]:
        """The reason for which each channel is closed."""
        return {channel: reason for channel, (reason, _) in self.contacts[id_]["dnc"].items()}

    # -- the API

    def __call__(self, request: Request) -> Answer:  # noqa: PLR0911 - a route each
        if request.headers.get("authorization") != _BASIC:
            return _error(401, "API authorization denied.")
        if self.refuse is not None:
            return self.refuse
        match request.method, request.path.split("/")[1:]:
            case "GET", ["api", "contacts"]:
                return self._list(request.query)
            case "GET", ["api", "contacts", id_] if int(id_) in self.contacts:
                return Answer(200, {"contact": self._shown(int(id_))})
            case "POST", ["api", "contacts", id_, "dnc", channel, "add"] if int(id_) in self.contacts:
                return self._add(int(id_), channel, request.json())
            case "POST", ["api", "contacts", "new"]:
                return Answer(201, {"contact": self._shown(self.enter(**request.json()))})
            case "DELETE", ["api", "contacts", id_, "delete"] if int(id_) in self.contacts:
                del self.contacts[int(id_)]
                return Answer(200, {"contact": {}})
        return _error(404, "Item was not found.")

    def _list(self, query: dict[str, list[str]]) -> Answer:
        said = {name: values[0] for name, values in query.items()}
        if strange := said.keys() - _PARAMETERS:
            return _error(400, f"unknown parameters: {strange}")
        if said.get("search", "!is:anonymous") != "!is:anonymous" or said.get("orderByDir", "asc") not in {
            "asc",
            "desc",
        }:
            return _error(400, "unknown search or order")
        column = _COLUMNS[said.get("orderBy", "id")]
        never = datetime.min.replace(tzinfo=UTC)
        known = [id_ for id_, one in self.contacts.items() if one["fields"].get("email") or one["fields"].get("mobile")]
        ordered = sorted(
            known, key=lambda id_: (id_ if column == "id" else self.contacts[id_][column] or never, id_),
            reverse=said.get("orderByDir") == "desc",
        )  # fmt: skip
        start, limit = int(said.get("start", 0)), int(said.get("limit", 30))
        page = {str(id_): self._shown(id_) for id_ in ordered[start : start + limit]}
        return Answer(200, {"total": str(len(ordered)), "contacts": page or []})

    def _add(self, id_: int, channel: str, body: dict[str, Any]) -> Answer:
        if channel not in _CHANNELS or not body.keys() <= {"reason", "channelId", "comments"}:
            return _error(400, "unknown channel or fields")
        if body.get("reason", 3) not in {1, 2, 3}:
            return _error(400, "Invalid reason code given")
        self.added.append((id_, channel, body))
        standing = self.contacts[id_]["dnc"].get(channel)
        if standing is None or standing[0] != 1:
            self.contacts[id_]["dnc"][channel] = (body.get("reason", 3), body.get("comments", ""))
        return Answer(200, {"contact": self._shown(id_)})

    def _tick(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def _shown(self, id_: int) -> dict[str, Any]:
        said = self.contacts[id_]
        fields = {name: said["fields"].get(name) for name in sorted(_FIELDS)}
        core = {
            name: {"id": "1", "alias": name, "type": "text", "group": "core", "value": fields[name]} for name in fields
        }
        modified = said["dateModified"]
        return {
            "id": id_, "isPublished": True, "points": 0, "dateAdded": said["dateAdded"].isoformat(),
            "dateModified": modified and modified.isoformat(), "tags": [], "utmtags": None,
            "fields": {"core": core, "social": [], "personal": [], "professional": [], "all": {"id": id_, **fields}},
            "doNotContact": [
                {"id": number, "reason": reason, "comments": comments, "channel": channel, "channelId": None}
                for number, (channel, (reason, comments)) in enumerate(said["dnc"].items(), 1)
            ],
        }  # fmt: skip


def _error(status: int, message: str) -> Answer:
    return Answer(status, {"errors": [{"code": status, "message": message, "type": None}]})
