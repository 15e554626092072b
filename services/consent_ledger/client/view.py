"""`SuppressionView`: a local view that keeps itself up to date, in a thread of its own."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import lmdb

from consent_ledger.client.acknowledger import Acknowledger, instance_of
from consent_ledger.client.copy import Copy, DamagedCopyError, Place
from consent_ledger.client.follower import Follower
from consent_ledger.client.keys import HashKey
from consent_ledger.client.local import MAX_STALENESS_SECONDS, LocalView

log = logging.getLogger(__name__)

_ASK_SECONDS: Final = 0.02
_JOIN_SECONDS: Final = 0.2


class SuppressionView(LocalView):
    """Follows `consent.suppressions` into a directory on disk, and answers from there.

    Processes that are given the same directory share one copy: one of them follows the topic, and another takes over
    when that one ends. `kafka` holds the arguments of any aiokafka client: `bootstrap_servers`, and what TLS and SASL
    need. Use it in `async with` or in `with`; after a fork, a child goes on with it as it is.

    `consumer`: the name under which this tool is registered (`consent consumers add`); then what the copy has applied
    is reported on the topic `acks`. `instance` names the copy; by default after the machine and the directory.

        async with SuppressionView("suppressions", load_keys("keys.json"), {"bootstrap_servers": "kafka:9092"}) as view:
            await view.ready()
            if view.decide("dekra-be", "an@example.be", "newsletter-email", "email"):
                ...
    """

    def __init__(
        self,
        path: Path | str,
        keys: Iterable[HashKey],
        kafka: Mapping[str, Any],
        *,
        topic: str = "consent.suppressions",
        max_staleness: float = MAX_STALENESS_SECONDS,
        clock: Callable[[], float] = time.time,
        applied: Callable[[Sequence[Place]], None] | None = None,
        consumer: str | None = None,
        instance: str | None = None,
        acks: str = "consent.acks",
    ) -> None:
        super().__init__(path, keys, max_staleness=max_staleness, clock=clock)
        self._kafka = dict(kafka)
        self._acks = acks
        self._consumer = consumer
        self._instance = instance or instance_of(self.path)
        self._acknowledger = self._make_acknowledger()
        self._topic = topic
        self._on_applied = applied
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._pid = os.getpid()

    # -- life

    def start(self) -> None:
        """Begin to follow the topic, or to stand by for the process that does."""
        if self._thread is None:
            started = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(started,), name="consent-suppressions", daemon=True)
            self._thread.start()
            started.wait()

    def stop(self) -> None:
        """Stop following; another process that shares the copy takes over."""
        thread, loop, task = self._thread, self._loop, self._task
        self._thread = self._loop = self._task = self._lock = None
        if thread is not None and loop is not None and task is not None and self._pid == os.getpid():
            # A client of Kafka that is just starting or stopping may swallow a cancellation.
            while thread.is_alive():
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(task.cancel)
                thread.join(_JOIN_SECONDS)
        self.close()

    async def ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a limit, as everywhere
        """Wait until the copy is complete and fresh. Raises TimeoutError after so many seconds."""
        async with asyncio.timeout(timeout):
            while not self.is_fresh():
                await asyncio.sleep(_ASK_SECONDS)

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait, outside an event loop, until the copy is complete and fresh. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_fresh():
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("the copy of the suppressions topic is not complete and fresh")
            time.sleep(_ASK_SECONDS)

    def is_fresh(self) -> bool:
        """Tell whether the copy is complete and not older than `max_staleness`."""
        try:
            with self.copy().reading() as reading:
                head = reading.head()
        except (DamagedCopyError, lmdb.Error):
            return False
        return head.complete and head.instant >= int((self._clock() - self.max_staleness) * 1_000_000)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def copy(self) -> Copy:
        """Return this process's copy; the first call after a fork opens one, and stands by for the parent."""
        if self._pid != os.getpid():
            self._go_on_as_child()
        return super().copy()

    def _go_on_as_child(self) -> None:
        with self._opening:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            # The child's share of the lock would outlive the parent's.
            if self._lock is not None:
                os.close(self._lock)
            was_following = self._thread is not None
            self._lock = self._thread = self._loop = self._task = None
        if was_following:
            self.start()

    # -- in the thread

    def _run(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._follow(started))
        except asyncio.CancelledError:
            return
        except Exception:
            # Without a follower the copy grows stale, and everything is answered no.
            log.exception("following the suppressions topic ended")
        finally:
            started.set()

    async def _follow(self, started: threading.Event) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        started.set()
        # One for each loop, for a child or a second start has another.
        self._acknowledger = self._make_acknowledger()
        reporting = None if self._acknowledger is None else asyncio.create_task(self._acknowledger.run())
        follower = Follower(
            self.copy, self.path, self._kafka, topic=self._topic, on_lock=self._hold, applied=self._apply
        )
        try:
            await follower.run()
        finally:
            if reporting is not None:
                reporting.cancel()
                await asyncio.wait([reporting])

    def _make_acknowledger(self) -> Acknowledger | None:
        if self._consumer is None:
            return None
        return Acknowledger(self._kafka, topic=self._acks, consumer=self._consumer, instance=self._instance)

    def _apply(self, places: Sequence[Place]) -> None:
        if self._acknowledger is not None:
            self._acknowledger.applied(places)
        if self._on_applied is not None:
            self._on_applied(places)

    def _hold(self, lock: int) -> None:
        self._lock = lock
