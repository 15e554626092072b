"""A publisher for forms and tools: what it has taken is delivered, however long everything else is down."""

import asyncio
import fcntl
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

from consent_ledger.client.outbox import Outbox, Parked
from consent_ledger.client.transports import OutOfReachError, Transport
from consent_ledger.domain import cloudevents, events
from consent_ledger.domain.errors import MalformedError
from consent_ledger.domain.signing import SigningKey

log = logging.getLogger(__name__)

_BATCH_MAX: Final = 500
_ASK_SECONDS: Final = 0.5
_PAUSE_MIN_SECONDS: Final = 0.1
_PAUSE_MAX_SECONDS: Final = 60.0


class Publisher:
    """Takes events durably in microseconds to milliseconds, and delivers them in a thread of its own, in order.

    Processes that are given the same file share it: one of them delivers. `transport` makes the way to the ledger.
    `key` signs every event, which the ledger asks for where the register has keys of the source.

        with Publisher("outbox.db", lambda: HttpTransport("https://ledger.example", key), source="web:dekra-be") as publisher:
            publisher.publish("consent-withdrawn", {"controllers": ["dekra-be"], "subject": [{"type": "email", "value": address}]})
    """  # noqa: E501 - an example that can be copied

    def __init__(
        self, path: Path | str, transport: Callable[[], Transport], *, source: str, key: SigningKey | None = None
    ) -> None:
        self._outbox = Outbox(Path(path))
        self._transport = transport
        self._source = source
        self._key = key
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._ended: asyncio.Event | None = None
        self._pid = os.getpid()

    def publish(
        self, type: str, data: Mapping[str, Any], *, occurred_at: datetime | None = None, event_id: UUID | None = None
    ) -> UUID:
        """Take an event and return its id; from here on it is not lost.

        `occurred_at`: when the declaration reached you, now by default. `event_id`: the same id counts once, so a form
        that is sent twice should give the same one. Raises `MalformedError` for an event that the ledger would reject;
        a refusal is taken in whatever shape it is, because the ledger suppresses what it can read of it.
        """
        moment = occurred_at or datetime.now(UTC)
        event_id = event_id or cloudevents.uuid7(moment)
        event = cloudevents.build(type, self._source, moment, data, event_id)
        said = events.decode(None, event, ())
        if isinstance(said, events.Rejection):
            raise MalformedError(said.reason, said.detail)
        self._outbox.put(event_id, event if self._key is None else self._key.sign(event))
        self._wake()
        return event_id

    async def publish_async(self, type: str, data: Mapping[str, Any], **more: Any) -> UUID:
        """Take an event without holding up the event loop; see `publish`."""
        return await asyncio.to_thread(self.publish, type, data, **more)

    def waiting(self) -> int:
        """Return how many events wait for their delivery."""
        return len(self._outbox)

    def parked(self) -> list[Parked]:
        """Return the events that the service refused for good, for somebody to look at."""
        return self._outbox.parked()

    def retry_parked(self) -> int:
        """Send again what was refused, once what was wrong is mended; return how many there are."""
        count = self._outbox.retry_parked()
        self._wake()
        return count

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything is delivered or parked. Raises TimeoutError; what is left stays and is delivered."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.waiting():
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("events wait for their delivery")
            time.sleep(0.01)

    # -- life

    def start(self) -> None:
        """Begin to deliver."""
        if self._thread is None:
            started = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(started,), name="consent-outbox", daemon=True)
            self._thread.start()
            started.wait()

    def stop(self) -> None:
        """Stop delivering; what waits is delivered by whoever opens the file next."""
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._call(self._ended)
            self._call(self._woken)
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _wake(self) -> None:
        if self._pid != os.getpid():
            # A forked child has no thread; it delivers what nobody else does.
            self._pid, self._thread = os.getpid(), None
            self.start()
        self._call(self._woken)

    def _call(self, event: asyncio.Event | None) -> None:
        if self._loop is not None and event is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(event.set)

    # -- in the thread

    def _run(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._deliver(started))
        except Exception:
            log.exception("delivering events ended; they stay in the outbox")
        finally:
            started.set()

    async def _deliver(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        woken, ended = self._woken, self._ended = asyncio.Event(), asyncio.Event()
        started.set()
        transport, pause = self._transport(), 0.0
        try:
            while not ended.is_set():
                woken.clear()
                try:
                    if not await self._deliver_some(transport):
                        await _wait(woken, _ASK_SECONDS)
                    pause = 0.0
                except OutOfReachError as error:
                    log.warning("events wait: the ledger is out of reach", extra={"why": str(error)})
                    pause = min(_PAUSE_MAX_SECONDS, max(_PAUSE_MIN_SECONDS, pause * 2))
                    # Many forms that lost the same service must not all come back at one instant.
                    await _wait(ended, max(pause * random.uniform(0.5, 1), error.after or 0))  # noqa: S311
        finally:
            await transport.close()

    async def _deliver_some(self, transport: Transport) -> bool:
        """Deliver the oldest events; False when there are none, or another process delivers."""
        with self._path_of_lock().open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            waiting = self._outbox.next(_BATCH_MAX)
            if not waiting:
                return False
            results = await transport.send([one.event for one in waiting])
            refused = [(one.place, reason) for one, reason in zip(waiting, results, strict=True) if reason is not None]
            for place, reason in refused:
                log.error("an event was refused for good", extra={"reason": reason})
                self._outbox.park(place, reason)
            self._outbox.delivered([one.place for one, reason in zip(waiting, results, strict=True) if reason is None])
            return True

    def _path_of_lock(self) -> Path:
        return self._outbox.path.with_name(f"{self._outbox.path.name}.lock")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
