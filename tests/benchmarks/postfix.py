"""Measures what the gate adds to each recipient of a real Postfix: `python -m benchmarks.postfix`, as root."""

import argparse
import asyncio
import multiprocessing
import smtplib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from client.topic import KEY, Clock, address, copied, yes
from connectors import mailserver
from connectors.gated import NEWS, STREAM, configured
from connectors.mailserver import Postfix
from consent_ledger.client import LocalView
from consent_ledger.connectors.postfix.server import listening
from consent_ledger.runtime.local.ports import LOOPBACK, free_port

_PEOPLE: Final = [f"person-{number}@example.be" for number in range(10_000)]
_RECIPIENTS: Final = 50
_SESSIONS: Final = 8


def main() -> int:
    """Print the latencies of RCPT with and without the gate, and how many mails go through per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=2_000)
    mails: int = parser.parse_args().mails
    if (reason := mailserver.missing()) is not None:
        print(reason, file=sys.stderr)  # noqa: T201 - a program
        return 3
    gate = f"{LOOPBACK}:{free_port()}"
    after = "permit_mynetworks, reject"
    smtpd = {
        "open": {"smtpd_recipient_restrictions": after},
        "gated": {"smtpd_recipient_restrictions": f"check_policy_service inet:{gate}, {after}"},
    }
    with _gate(gate), Postfix(smtpd) as postfix:
        seconds: dict[str, list[float]] = {name: [] for name in smtpd}
        for _ in range(mails // _RECIPIENTS):
            # By turns, so that what else the machine does falls on both.
            for name, measured in seconds.items():
                measured.extend(_rcpts(postfix.ports[name]))
        rates = {name: _rate(postfix.ports[name], mails) for name in smtpd}
    Console().print(_table(seconds, rates))
    return 0


@contextmanager
def _gate(listen: str) -> Iterator[None]:
    """Run the gate in a process of its own, over a copy in which everybody has consented."""
    with tempfile.TemporaryDirectory() as path:
        copied(Path(path), *(address(person, {"newsletter": {"email": yes()}}) for person in _PEOPLE)).close()
        spawn = multiprocessing.get_context("spawn")
        ready = spawn.Event()
        process = spawn.Process(target=_serve, args=(path, listen, ready), daemon=True)
        process.start()
        ready.wait(60)
        try:
            yield
        finally:
            process.kill()
            process.join()


def _serve(path: str, listen: str, ready: "multiprocessing.synchronize.Event") -> None:
    async def serve() -> None:
        made = configured(policy={"listen": listen, "stream": [STREAM]})
        async with listening(made, LocalView(path, [KEY], clock=Clock())):
            ready.set()
            await asyncio.Event().wait()

    asyncio.run(serve())


def _rcpts(port: int) -> list[float]:
    seconds = []
    with smtplib.SMTP(LOOPBACK, port, local_hostname="tool.shop.example") as smtp:
        smtp.ehlo()
        smtp.mail(NEWS)
        for person in _PEOPLE[:_RECIPIENTS]:
            began = time.perf_counter()
            code, _ = smtp.rcpt(person)
            seconds.append(time.perf_counter() - began)
            assert code == 250
        smtp.rset()
    # The first asks Postfix's other processes for the first time.
    return seconds[1:]


def _rate(port: int, mails: int) -> float:
    """Mails of one recipient per second, over several sessions that are kept."""
    began = time.perf_counter()
    with ThreadPoolExecutor(_SESSIONS) as pool:
        list(pool.map(_send, [port] * _SESSIONS, [mails // _SESSIONS] * _SESSIONS))
    return mails / (time.perf_counter() - began)


def _send(port: int, mails: int) -> None:
    with smtplib.SMTP(LOOPBACK, port, local_hostname="tool.shop.example") as smtp:
        for number in range(mails):
            smtp.sendmail(NEWS, _PEOPLE[number % len(_PEOPLE)], b"Subject: news\r\n\r\nNews.\r\n")


def _table(seconds: dict[str, list[float]], rates: dict[str, float]) -> Table:
    made = Table("", "RCPT p50 ms", "p95 ms", "p99 ms", "mails/s", title="Postfix with and without the gate")
    shares = {name: _shares(some) for name, some in seconds.items()}
    for name, of_it in shares.items():
        made.add_row(name, *(f"{share:.3f}" for share in of_it), f"{rates[name]:,.0f}")
    added = [gated - without for gated, without in zip(shares["gated"], shares["open"], strict=True)]
    made.add_row("added", *(f"{share:.3f}" for share in added), "")
    return made


def _shares(seconds: Sequence[float]) -> list[float]:
    cuts = statistics.quantiles(seconds, n=100)
    return [cuts[place - 1] * 1_000 for place in (50, 95, 99)]


if __name__ == "__main__":
    sys.exit(main())
