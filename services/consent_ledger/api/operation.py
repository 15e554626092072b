"""`/healthz` and `/readyz`: whether the process lives, and whether it can be of use."""

from typing import Any

from fastapi import Response

from consent_ledger.api.body import json_response
from consent_ledger.api.database import Database
from consent_ledger.api.problems import ProblemError
from consent_ledger.api.publisher import Publisher
from consent_ledger.store import overview


class Operation:
    """Answers a load balancer and an operator. Open to anyone, so it says nothing but yes or no and one age."""

    def __init__(self, database: Database, publisher: Publisher, max_staleness: float) -> None:
        self._database = database
        self._publisher = publisher
        self._max_staleness = max_staleness

    async def healthz(self) -> Response:
        """Answer as long as the process answers at all."""
        return json_response({"status": "ok"})

    async def readyz(self) -> Response:
        """Answer 200 when a decision could be a yes and an event would be taken, else 503.

        `register`: the view has come to the register in force. `horizon_age_s`: how far the answers may lag behind
        Kafka; null while that is not known.
        """
        checks: dict[str, Any] = {"kafka": False, "database": False, "register": False, "horizon_age_s": None}
        checks["kafka"] = await self._publisher.reachable()
        try:
            progress = await self._database.read(overview.progress)
        except ProblemError:
            pass
        else:
            checks |= {"database": True, "register": progress.view_version == progress.register_version}
            checks["horizon_age_s"] = progress.horizon_age_s
        age = checks["horizon_age_s"]
        is_fresh = age is not None and age <= self._max_staleness
        ready = checks["kafka"] and checks["database"] and checks["register"] and is_fresh
        return json_response({"ready": ready, "checks": checks}, 200 if ready else 503)
