"""A list of a do-not-call register is imported whole or not at all, and counts from the one entry that says so.

Seen to fail:
- no step onward from a late snapshot;
- nothing cleared after a list that is refused;
- one key for all controllers;
- a controller that the newest snapshot leaves out asking an older one: over HTTP, and in the view.
"""

import asyncio
import gzip
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.served import Api
from consent_ledger.cli.import_dnc import Imported, Plan, import_snapshot
from consent_ledger.domain.events import read_body
from dnc.line import Line, ago, document, load, new_line, number
from running import until


async def imported(line: Line, file: Path, *lines: str, at: str, **options: Any) -> Imported:
    text = "".join(f"{one}\n" for one in lines).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    plan = Plan(file=file, register=line.register, snapshot_at=datetime.fromisoformat(at).astimezone(UTC), **options)
    return await import_snapshot(line.home.settings, plan)


async def entries(line: Line) -> list[dict[str, Any]]:
    rows = await line.home.fetch("SELECT body FROM ledger WHERE type = 'preference-register-imported'")
    return [body for row in rows if (body := dict(read_body(row["body"])))["register"] == line.register]


@pytest.mark.parametrize("name", ["list.csv", "list.gz"])
async def test_what_is_in_the_file_is_listed_when_the_import_returns(line: Line, tmp_path: Path, name: str) -> None:
    plain, dated, other = number(), number(), number()
    consents = [line.consented(one, at=ago(days=9)) for one in (plain, dated)]
    await line.api.recorded(*consents)

    done = await imported(
        line, tmp_path / name, "registered_at;Number", f'{ago(days=20)};"{dated}"', f";00{plain[1:]}", f";{plain}",
        at=ago(days=1),
    )  # fmt: skip

    assert (done.active, done.problem, done.numbers, done.bad) == (True, None, 2, 0)
    assert [await line.reason(one, purpose="telesales") for one in (plain, dated)] == ["DNC_LISTED", "CONSENT"]
    assert [await line.reason(one) for one in (plain, dated, other)] == [
        "DNC_LISTED", "DNC_LISTED", "LEGITIMATE_INTEREST",
    ]  # fmt: skip
    (entry,) = await entries(line)
    assert (entry["digest"], entry["count"], entry["source"]) == (done.digest, 2, "dncm-feed")


async def test_the_second_list_adds_removes_and_keeps_and_touches_nothing_else(line: Line, tmp_path: Path) -> None:
    kept, gone, new = number(), number(), number()
    await line.api.recorded(*[line.consented(one, at=ago(days=3)) for one in (kept, gone, new)])
    await imported(line, tmp_path / "a", kept, gone, at=ago(days=6))

    await imported(line, tmp_path / "b", kept, new, at=ago(days=1))

    changes = await line.home.fetch(
        "SELECT s.changes FROM dnc_step s WHERE s.register = $1 ORDER BY s.id", line.register
    )
    assert [row["changes"] for row in changes] == [2, 2]
    assert [await line.reason(one) for one in (kept, gone, new)] == [
        "DNC_LISTED", "LEGITIMATE_INTEREST", "DNC_LISTED",
    ]  # fmt: skip
    # The consents came after the first list and before the second.
    assert [await line.reason(one, purpose="telesales") for one in (kept, new)] == ["CONSENT", "DNC_LISTED"]


async def test_an_older_list_that_comes_late_changes_nothing_that_the_newer_one_says(
    line: Line, tmp_path: Path
) -> None:
    freed, listed = number(), number()
    await imported(line, tmp_path / "new", listed, at=ago(days=1))

    late = await imported(line, tmp_path / "old", freed, at=ago(days=5))

    assert late.active
    assert [await line.reason(one) for one in (freed, listed)] == ["LEGITIMATE_INTEREST", "DNC_LISTED"]
    assert await line.reason(freed, at=ago(days=3)) == "DNC_LISTED"
    assert (await line.decide(freed))["valid_until"] > ago(days=-5)


async def test_the_same_list_again_is_one_snapshot(line: Line, tmp_path: Path) -> None:
    listed = number()
    first = await imported(line, tmp_path / "a", listed, at=ago(days=1))

    again = await imported(line, tmp_path / "a", listed, at=ago(days=1))

    assert (again.active, again.was_active, again.snapshot) == (True, True, first.snapshot)
    assert len(await entries(line)) == 1
    assert await line.reason(listed) == "DNC_LISTED"


async def test_lines_that_cannot_be_read_are_named_by_number_and_too_many_refuse_the_whole(
    line: Line, tmp_path: Path
) -> None:
    before, listed = number(), number()
    await imported(line, tmp_path / "a", before, at=ago(days=2))
    lines = ("nothing", listed, '"', f"{listed},yesterday", before)

    refused = await imported(line, tmp_path / "b", *lines, at=ago(days=1), bad_max=2)
    after_refusal = [await line.reason(one) for one in (before, listed)]
    taken = await imported(line, tmp_path / "b", *lines, at=ago(days=1), bad_max=3)

    assert (refused.active, refused.numbers) == (False, 0)
    assert "more than 2 lines" in (refused.problem or "")
    assert after_refusal == ["DNC_LISTED", "LEGITIMATE_INTEREST"]
    assert taken.active
    assert [bad.line for bad in taken.bad_lines] == [1, 3, 4]
    assert not any(said in str(taken.bad_lines) for said in ("nothing", listed, "yesterday"))
    assert [await line.reason(one) for one in (before, listed)] == ["DNC_LISTED"] * 2


async def test_a_list_much_shorter_than_the_last_is_taken_only_when_told(line: Line, tmp_path: Path) -> None:
    many = [number() for _ in range(10)]
    await imported(line, tmp_path / "a", *many, at=ago(days=2))

    refused = await imported(line, tmp_path / "b", *many[:8], at=ago(days=1))
    after_refusal = await line.reason(many[9])
    taken = await imported(line, tmp_path / "b", *many[:8], at=ago(days=1), may_shrink=True)

    assert (refused.active, taken.active) == (False, True)
    assert (after_refusal, await line.reason(many[9])) == ("DNC_LISTED", "LEGITIMATE_INTEREST")


async def test_a_packed_file_that_was_cut_short_is_refused(line: Line, tmp_path: Path) -> None:
    file = tmp_path / "list.gz"
    packed = gzip.compress("".join(f"{number()}\n" for _ in range(1000)).encode())
    file.write_bytes(packed[: len(packed) // 2])

    plan = Plan(file=file, register=line.register, snapshot_at=datetime.fromisoformat(ago(days=1)))
    refused = await import_snapshot(line.home.settings, plan)

    assert not refused.active
    assert "cut short" in (refused.problem or "")
    assert await line.home.fetch("SELECT FROM dnc_load") == []
    assert await line.reason(number()) == "DNC_STALE"


async def test_an_import_killed_before_its_entry_leaves_the_last_list_and_the_next_one_clears_up(
    line: Line, tmp_path: Path
) -> None:
    old, new = number(), number()
    await imported(line, tmp_path / "a", old, at=ago(days=2))
    (tmp_path / "b").write_text(f"{old}\n{new}\n")

    # Everything is loaded; what would make it ready waits for the lock.
    async with line.home.superuser.transaction():
        await line.home.fetch("LOCK TABLE dnc_step IN SHARE MODE")
        killed = await _import_process(line, tmp_path / "b")
        await until(
            lambda: line.home.fetch("SELECT FROM pg_locks WHERE relation = 'dnc_step'::regclass AND NOT granted")
        )
        killed.kill()
        await killed.wait()
    left = await line.home.fetch(
        "SELECT state FROM dnc_snapshot WHERE register = $1 ORDER BY recorded_at", line.register
    )
    between = [await line.reason(one) for one in (old, new)]
    await until(lambda: _is_alone(line))
    done = await imported(line, tmp_path / "b", old, new, at=ago(days=1))

    assert [row["state"] for row in left] == ["active", "loading"]
    assert between == ["DNC_LISTED", "LEGITIMATE_INTEREST"]
    assert (done.active, done.cleared) == (True, 1)
    assert [await line.reason(one) for one in (old, new)] == ["DNC_LISTED"] * 2
    assert len(await entries(line)) == 2
    assert await line.home.fetch("SELECT FROM dnc_load") == []


async def _import_process(line: Line, file: Path) -> asyncio.subprocess.Process:
    settings = line.home.settings
    environment = {
        **os.environ,
        "CONSENT_DATABASE_URL": settings.dsn,
        "CONSENT_KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
        "CONSENT_TOPIC_PREFIX": settings.topic_prefix,
        "CONSENT_PARTITIONS": str(settings.partitions),
        "CONSENT_KEY_FILE": str(settings.key_file),
    }
    arguments = ("import", "dnc", str(file), "--register", line.register, "--snapshot-at", ago(days=1), "--json")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consent_ledger.cli.main", *arguments, env=environment, stdout=asyncio.subprocess.DEVNULL
    )


async def _is_alone(line: Line) -> bool:
    """Whether the server has noticed that the killed import is gone."""
    # A lock of two keys.
    return not await line.home.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2")


async def test_two_controllers_lists_cannot_be_laid_beside_each_other(api: Api, tmp_path: Path) -> None:
    line = await new_line(api, controllers=2)
    many = [number() for _ in range(50)]

    await imported(line, tmp_path / "a", *many, at=ago(days=1))

    stored = {
        controller: [row["hash"] for row in await line.home.fetch(
            "SELECT d.hash FROM dnc d JOIN dnc_step s ON s.id = d.step WHERE s.controller = $1 ORDER BY d.ctid",
            controller,
        )] for controller in line.controllers
    }  # fmt: skip
    first, second = (stored[controller] for controller in line.controllers)
    assert len(first) == len(second) == 50
    assert set(first).isdisjoint(second)
    # Nor by their places: each list lies in the order of its own hashes.
    assert first == sorted(first)
    assert second == sorted(second)
    assert set(first) == {await line.hash_of(one, line.controllers[0]) for one in many}
    for controller in line.controllers:
        assert await line.reason(many[0], controller=controller) == "DNC_LISTED"


async def test_a_controller_that_came_after_the_list_may_call_nobody_before_the_next(
    line: Line, tmp_path: Path
) -> None:
    listed, free, late = number(), number(), f"late-{line.caller}"
    await imported(line, tmp_path / "a", listed, at=ago(days=2))
    await load(line, document(line.register, (line.caller, late)))
    before = [await line.reason(one, controller=late) for one in (listed, free)]

    await imported(line, tmp_path / "a", listed, at=ago(days=2))

    assert before == ["DNC_STALE", "DNC_STALE"]
    assert [await line.reason(one, controller=late) for one in (listed, free)] == ["DNC_LISTED", "LEGITIMATE_INTEREST"]


async def test_a_controller_that_a_newer_list_left_out_does_not_ask_its_older_one(api: Api, tmp_path: Path) -> None:
    line = await new_line(api, controllers=2)
    first, second = line.controllers
    customer = number()
    served = {**line.served(customer, at=ago(days=90)), "source": f"web:{second}"}
    served["data"]["controllers"] = [second]
    await api.recorded(served)
    await imported(line, tmp_path / "a", number(), at=ago(days=2))
    whole = document(line.register, line.controllers)
    silent = [{**one, "dnc": []} if one["controller"] == second else one for one in whole["purposes"]]

    await load(line, {**whole, "purposes": silent})
    await imported(line, tmp_path / "b", customer, at=ago(days=1))
    await load(line, whole)

    assert await line.reason(customer, controller=first) == "DNC_LISTED"
    assert await line.reason(customer, controller=second) == "DNC_STALE"
    await line.published()
    (row,) = await line.home.fetch("SELECT decisions FROM view WHERE hash = $1", await line.hash_of(customer, second))
    assert b"LEGITIMATE_INTEREST" not in row["decisions"]
