"""Measures the copy of a mail tool: `python -m benchmarks.sdk [ADDRESSES]`, in `tests`.

A copy of so many addresses is filled as the follower fills it, then asked by a process that has just opened it, at
random over all of them. Reading goes through pages of the file that the kernel lends and takes back, so what the
process holds of its own is told apart from those.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from client.topic import KEY, SHOP, Clock, address, copied, no, yes
from consent_ledger.client import LocalView
from consent_ledger.client.copy import Copy
from consent_ledger.client.records import Row, read_row

_FILL_BATCH: Final = 2_000
_ASKED: Final = 400_000
_BULK: Final = 1_000
_MIB: Final = 2**20


def main(addresses: int) -> None:
    """Print how fast it is filled and asked, and the memory of both."""
    table = Table("what", "measured", "aim", title=f"A mail tool's copy, {addresses:,} addresses")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy"
        for step in (_fill, _ask):
            for row in _apart(step, path, addresses):
                table.add_row(*row)
        size = sum(file.stat().st_blocks * 512 for file in path.iterdir())
        table.add_row("on disk, MiB", f"{size / _MIB:,.0f}", "")
    Console().print(table)


def _apart(step: Callable[..., Iterator[tuple[str, str, str]]], path: Path, addresses: int) -> list[Any]:
    """Run a step in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_listed, (step, path, addresses))


def _listed(step: Callable[..., Iterator[tuple[str, str, str]]], path: Path, addresses: int) -> list[Any]:
    return list(step(path, addresses))


def _fill(path: Path, addresses: int) -> Iterator[tuple[str, str, str]]:
    copied(path).close()
    rows = [read_row(record) for record in _records()]
    copy, began, busy = Copy(path), time.perf_counter(), time.process_time()
    for first in range(0, addresses, _FILL_BATCH):
        with copy.writing() as writing:
            for number in range(first, min(first + _FILL_BATCH, addresses)):
                writing.put_row(_row(rows[number % len(rows)], number))
    yield "filled, records/s", f"{addresses / (time.perf_counter() - began):,.0f}", ""
    yield "filled, CPU us a record", f"{(time.process_time() - busy) / addresses * 1e6:,.1f}", ""
    yield "filling process, MiB of its own", _own_memory(), ""
    copy.close()


def _records() -> Iterator[bytes]:
    """Templates as they are in life: few, for most people have said one of few things."""
    for purpose in ("newsletter", "calls", "invoice"):
        for answer in (yes(), no("NOT_GIVEN"), no("CONSENT_WITHDRAWN")):
            yield address("somebody@example.be", {purpose: {"email": answer}})[1]


def _row(like: Row, number: int) -> Row:
    return like._replace(hash=KEY.hash("email", _name(number)), version=number + 1)


def _name(number: int) -> str:
    return f"person-{number}@example.be"


def _ask(path: Path, addresses: int) -> Iterator[tuple[str, str, str]]:
    view, random = LocalView(path, (KEY,), clock=Clock()), Random(7)
    names = [_name(random.randrange(addresses)) for _ in range(_ASKED)]
    hashes = [view.hash_of(SHOP, name, "email") for name in names]
    # The first round brings the pages in from the file, which is the disk's business.
    allowed = sum(map(bool, view.decide_hashes(SHOP, hashes, "newsletter", "email", type="email")))
    if not _ASKED / 20 < allowed < _ASKED / 5:
        raise RuntimeError(f"{allowed} of {_ASKED} allowed: this is not the copy that was filled")
    one = names[: _ASKED // 4]
    yield "one by one by address, decisions/s", _rate(len(one), lambda: [_one(view, name) for name in one]), ""
    yield "in bulk by address, decisions/s", _rate(_ASKED, lambda: _bulk(names, view.decide_many)), "200,000"
    yield "in bulk by hash, decisions/s", _rate(_ASKED, lambda: _bulk(hashes, view.decide_hashes)), "200,000"
    yield "asking process, MiB of its own", _own_memory(), ""
    lent = getattr(psutil.Process().memory_info(), "shared", 0)
    yield "pages lent by the kernel, MiB", f"{lent / _MIB:,.0f}", ""
    view.close()


def _one(view: LocalView, name: str) -> bool:
    return bool(view.decide(SHOP, name, "newsletter", "email"))


def _bulk(asked: list[Any], decide: Callable[..., Any]) -> None:
    for first in range(0, len(asked), _BULK):
        decide(SHOP, asked[first : first + _BULK], "newsletter", "email", type="email")


def _rate(count: int, work: Callable[[], Any]) -> str:
    """Decisions per second of CPU time, which is what one core gives."""
    began = time.process_time()
    work()
    return f"{count / (time.process_time() - began):,.0f}"


def _own_memory() -> str:
    memory = psutil.Process().memory_info()
    return f"{(memory.rss - getattr(memory, 'shared', 0)) / _MIB:,.0f}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
