"""A stand-in for listmonk, made from its public API description, that takes nothing which is not described there.

As listmonk does, it gives 50 subscribers a page at most, says that all is well where a user may not manage a list, and
puts everybody on its blocklist into the same status for whatever reason.
"""

import base64
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connectors.webserver import Answer, Request

USER, TOKEN = "connector", "token-of-the-user"
_BASIC: Final = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
_PER_PAGE_MAX: Final = 50
_ORDERS: Final = {"name", "status", "created_at", "updated_at"}
_STATUSES: Final = {"enabled", "disabled", "blocklisted"}
_SUBSCRIPTIONS: Final = {"confirmed", "unconfirmed", "unsubscribed"}


class WrongError(Exception):
    """What listmonk would answer with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Listmonk:
    """The state of a listmonk. `managed`: the lists that the user may manage. `now`: its clock, which a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)
        self.lists: dict[int, dict[str, Any]] = {}
        self.subscribers: dict[int, dict[str, Any]] = {}
        self.bounces: dict[int, list[str]] = {}
        self.managed: set[int] = set()
        self.changes: list[tuple[str, dict[str, Any]]] = []
        self.refuse: Answer | None = None

    # -- what a test or a person does

    def subscribe(self, email: str, *lists: int, status: str = "confirmed") -> int:
        """Put somebody on lists, as an import, a form or the owner would."""
        found = [one["id"] for one in self.subscribers.values() if one["email"] == email]
        id_ = found[0] if found else self._add({"email": email, "name": "N", "status": "enabled"})
        for one in lists:
            self._subscription(id_, one, status)
        return id_

    def leave(self, id_: int, *lists: int) -> None:
        """Let somebody unsubscribe on listmonk's own page."""
        for one in lists:
            self._subscription(id_, one, "unsubscribed")

    def block(self, id_: int, *bounces: str) -> None:
        """Put somebody on the blocklist, for bounces or for a wish."""
        self.bounces[id_] = list(bounces)
        self.subscribers[id_]["status"] = "blocklisted"
        for one in self.subscribers[id_]["lists"]:
            self._subscription(id_, one, "unsubscribed")

    def on(self, id_: int) -> set[int]:
        """The lists from which somebody would get mail now."""
        said = self.subscribers[id_]
        sends = said["status"] == "enabled"
        return {one for one, (status, _) in said["lists"].items() if sends and status != "unsubscribed"}

    # -- the API

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("authorization") != _BASIC:
            return Answer(403, {"message": "invalid API credentials"})
        if self.refuse is not None:
            return self.refuse
        if request.body:
            assert request.headers["content-type"] == "application/json"
        try:
            return Answer(200, {"data": self._route(request)})
        except WrongError as error:
            return Answer(error.status, {"message": str(error)})

    def _route(self, request: Request) -> Any:  # noqa: PLR0911 - a route each
        match request.method, request.path.split("/")[1:]:
            case "GET", ["api", "subscribers"]:
                return self._query(request.query)
            case "GET", ["api", "subscribers", id_]:
                return self._shown(self._known(id_))
            case "GET", ["api", "subscribers", id_, "bounces"]:
                return [{"id": 1, "type": one, "source": "api", "meta": {}} for one in self.bounces.get(int(id_), [])]
            case "PUT", ["api", "subscribers", "lists"]:
                return self._manage(request.json())
            case "PUT", ["api", "subscribers", "blocklist"]:
                return self._blocklist(request.json())
            case "POST", ["api", "subscribers"]:
                return self._create(request.json())
            case "DELETE", ["api", "subscribers", id_]:
                del self.subscribers[self._known(id_)]
                return True
            case "POST", ["api", "lists"]:
                return self._create_list(request.json())
            case "DELETE", ["api", "lists", id_]:
                del self.lists[int(id_)]
                return True
        raise WrongError(404, "Not Found")

    def _query(self, query: dict[str, list[str]]) -> Any:
        if strange := query.keys() - {"order_by", "order", "page", "per_page", "list_id", "subscription_status"}:
            raise WrongError(400, f"unknown parameters: {strange}")
        said = {name: values[0] for name, values in query.items()}
        if said.get("order_by", "created_at") not in _ORDERS or said.get("order", "ASC") not in {"ASC", "DESC"}:
            raise WrongError(400, "unknown order")
        page, per_page = int(said.get("page", 1)), min(int(said.get("per_page", 20)), _PER_PAGE_MAX)
        every = sorted(
            self.subscribers.values(), key=lambda one: (one[said.get("order_by", "created_at")], one["id"]),
            reverse=said.get("order") == "DESC",
        )  # fmt: skip
        some = [self._shown(one["id"]) for one in every[(page - 1) * per_page : page * per_page]]
        return {"results": some, "query": "", "total": len(every), "per_page": per_page, "page": page}

    def _manage(self, body: dict[str, Any]) -> bool:
        _fields(body, {"ids", "action", "target_list_ids"}, {"status"})
        if not body["ids"] or not body["target_list_ids"]:
            raise WrongError(400, "No IDs given.")
        if body["action"] not in {"add", "remove", "unsubscribe"}:
            raise WrongError(400, "Invalid action.")
        self.changes.append(("lists", body))
        for id_ in body["ids"]:
            for one in set(body["target_list_ids"]) & self.managed:
                if body["action"] == "add":
                    self._subscription(id_, one, body["status"])
                elif id_ in self.subscribers and one in self.subscribers[id_]["lists"]:
                    assert body["action"] == "unsubscribe", (
                        "a connector takes nobody off a list: who left would be forgotten"
                    )
                    self._subscription(id_, one, "unsubscribed")
        return True

    def _blocklist(self, body: dict[str, Any]) -> bool:
        _fields(body, {"ids"}, set())
        if not body["ids"]:
            raise WrongError(400, "No IDs given.")
        self.changes.append(("blocklist", body))
        for id_ in body["ids"]:
            self.block(id_)
        return True

    def _create(self, body: dict[str, Any]) -> Any:
        _fields(body, {"email", "name", "status"}, {"lists", "attribs", "preconfirm_subscriptions"})
        if body["status"] not in _STATUSES:
            raise WrongError(400, "Invalid status.")
        if any(one["email"] == body["email"] for one in self.subscribers.values()):
            raise WrongError(409, "E-mail already exists.")
        id_ = self._add(body)
        for one in body.get("lists", []):
            self._subscription(id_, one, "confirmed" if body.get("preconfirm_subscriptions") else "unconfirmed")
        return self._shown(id_)

    def _create_list(self, body: dict[str, Any]) -> Any:
        _fields(body, {"name", "type", "optin"}, {"tags", "description"})
        id_ = len(self.lists) + 1
        self.lists[id_] = body
        self.managed.add(id_)
        return {"id": id_, **body}

    # -- what it keeps

    def _add(self, said: dict[str, Any]) -> int:
        id_ = max(self.subscribers, default=0) + 1
        self.subscribers[id_] = {
            "id": id_, "uuid": str(uuid.uuid4()), "email": said["email"], "name": said["name"], "attribs": {},
            "status": said["status"], "lists": {}, "created_at": self._tick(), "updated_at": self.now,
        }  # fmt: skip
        return id_

    def _known(self, id_: str) -> int:
        if int(id_) not in self.subscribers:
            raise WrongError(400, "Subscriber not found.")
        return int(id_)

    def _subscription(self, id_: int, list_: int, status: str) -> None:
        assert status in _SUBSCRIPTIONS
        assert list_ in self.lists
        self.subscribers[id_]["lists"][list_] = (status, self._tick())

    def _tick(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def _shown(self, id_: int) -> dict[str, Any]:
        said = self.subscribers[id_]
        return {
            **said, "created_at": said["created_at"].isoformat(), "updated_at": said["updated_at"].isoformat(),
            "lists": [
                {"id": one, **self.lists[one], "subscription_status": status,
                 "subscription_created_at": at.isoformat(), "subscription_updated_at": at.isoformat(),
                 "subscription_meta": {}}
                for one, (status, at) in said["lists"].items()
            ],
        }  # fmt: skip


def _fields(body: dict[str, Any], needed: set[str], allowed: set[str]) -> None:
    if not needed <= body.keys() <= needed | allowed:
        raise WrongError(400, f"fields are {sorted(body)}, not {sorted(needed | allowed)}")
