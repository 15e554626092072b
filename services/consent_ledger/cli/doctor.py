"""`consent doctor`: how an installation stands, and what is wrong with it."""

from typing import Annotated, Any

import typer
from rich.text import Text

from consent_ledger.cli import found
from consent_ledger.cli.after_restore import Step, steps
from consent_ledger.cli.checkup import Checkup, check_up
from consent_ledger.cli.found import Data
from consent_ledger.cli.terminal import NO, UNAVAILABLE, AsJson, out, run, say_json, table, visible, yes_no


def doctor(
    *,
    after_restore: Annotated[
        bool, typer.Option("--after-restore", help="Say what to do after the database was restored.")
    ] = False,
    data: Data = found.DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Look at settings, servers, topics, shards, view, relay, log, quarantine and keys; exit status 1 for a fault."""
    if after_restore:
        _after_restore(run(steps(found.settings(data))), as_json=as_json)
        return
    checkup = run(check_up(found.settings(data)))
    if as_json:
        say_json(checkup)
    else:
        _say(checkup)
    if not checkup.ok:
        raise typer.Exit(NO if checkup.reachable else UNAVAILABLE)


def _after_restore(found_steps: list[Step], *, as_json: bool) -> None:
    done = all(step.state == "done" for step in found_steps)
    if as_json:
        say_json({"ok": done, "steps": [step._asdict() for step in found_steps]})
    else:
        rows = [
            (
                str(number),
                step.name,
                yes_no(yes=step.state == "done", text=step.state),
                visible(step.text),
                step.command,
            )
            for number, step in enumerate(found_steps, 1)
        ]
        out.print(table("After the restore, in this order", "", "step", "", "", "command", rows=rows))
    if not done:
        raise typer.Exit(NO)


def _say(checkup: Checkup) -> None:
    rows = [(one["name"], one["value"], "set" if one["set"] else "", one["description"]) for one in checkup.settings]
    out.print(table("Settings", "name", "value", "", "meaning", rows=rows))
    for title, server in (("Kafka", checkup.kafka), ("Database", checkup.database)):
        reachable = yes_no(yes=bool(server.get("reachable")), text="reachable" if server.get("reachable") else "away")
        details = ", ".join(f"{key} {value}" for key, value in server.items() if key != "reachable")
        out.print(Text.assemble((f"\n{title}: ", "bold"), reachable, f"  {details}"))
    if checkup.shards:
        _say_shards(checkup)
        _say_view(checkup.view)
        _say_relay(checkup.relay)
        _say_log(checkup.log)
        _say_call_registers(checkup.dnc)
        _say_rebuild(checkup.rebuild)
    for warning in checkup.warnings:
        out.print(Text.assemble(("to know  ", "yellow"), warning), soft_wrap=True)
    for problem in checkup.problems:
        out.print(Text.assemble(("WRONG    ", "bold red"), problem), soft_wrap=True)
    if checkup.ok:
        out.print(Text("Nothing is wrong.", style="green"))


def _say_shards(checkup: Checkup) -> None:
    names = ("entries", "duplicates", "rejected", "holes")
    rows: list[tuple[Any, ...]] = [
        (
            f"{shard['shard']} = {shard['topic']}/{shard['partition']}", shard["start_offset"], shard["next_offset"],
            *(shard[name] for name in names), _sum(even=shard["accounted"]), shard["unread"], shard["unfolded"],
        )
        for shard in checkup.shards
    ]  # fmt: skip
    total = checkup.total
    even = total["offsets"] == sum(total[name] for name in names)
    rows.append(("all", "", total["offsets"], *(total[name] for name in names), _sum(even=even), "", ""))
    out.print()
    out.print(
        table(
            "Every offset is an entry, a duplicate, rejected, or a hole that Kafka left",
            "shard", "start", "next", *names, "sum", "unread", "unfolded", rows=rows, right=tuple(range(1, 10)),
        )
    )  # fmt: skip
    owners: dict[str, list[str]] = {}
    for shard in checkup.shards:
        owners.setdefault(_owner(shard), []).append(str(shard["shard"]))
    for owner, shards in owners.items():
        out.print(f"shards {', '.join(shards)}: {owner}")


def _sum(*, even: bool) -> Text:
    return yes_no(yes=even, text="=" if even else "≠")


def _owner(row: dict[str, Any]) -> str:
    if row["lease_seconds"] < 0:
        return "owned by nobody"
    return f"owned by {row['owner']} (epoch {row['epoch']}, for {row['lease_seconds']:.0f} s more)"


def _say_view(view: dict[str, Any]) -> None:
    age = "never" if view["horizon_age"] is None else f"{view['horizon_age']:.1f} s"
    out.print(
        Text.assemble(
            ("\nView: ", "bold"),
            f"{view['addresses']:,} addresses in {view['dossiers']:,} dossiers, register version "
            f"{view['register_version']}, seq {view['seq']:,}, {age} behind Kafka, {view['waiting']:,} entries wait "
            f"for what they refer to; {_owner(view)}",
        )
    )


def _say_relay(relay: list[dict[str, Any]]) -> None:
    unsent = sum(one["unsent"] for one in relay)
    owners = {one["owner"] for one in relay if one["lease_seconds"] >= 0}
    out.print(
        Text.assemble(
            ("Relay: ", "bold"),
            f"{len(relay)} partitions, {unsent:,} records to send; owner {', '.join(sorted(owners)) or 'nobody'}\n",
        )
    )


def _say_rebuild(last: dict[str, Any] | None) -> None:
    if last is None:
        out.print("The view was never made anew: `consent rebuild --drill` shows that it is what the ledger says.\n")
        return
    what = "drill" if last["drill"] else "rebuild"
    out.print(
        f"Last {what}, {last['recorded_at']:%Y-%m-%d %H:%M} UTC: {last['addresses']:,} addresses, "
        f"{last['differences']:,} differences, {last['written']:,} rows replaced\n"
    )


def _say_log(log: dict[str, Any]) -> None:
    if not log:
        return
    age = "" if log["sealed_seconds_ago"] is None else f", sealed {log['sealed_seconds_ago']:.1f} s ago"
    outside = ", ".join(f"{one['place']} has {one['size']:,}" for one in log["outside"]) or "nothing is set"
    said = f"{log['origin']}, {log['size']:,} entries{age}, {log['behind']:,} wait; outside: {outside}; {_owner(log)}\n"
    out.print(Text.assemble(("Log: ", "bold"), said), soft_wrap=True)
    rows: list[tuple[Any, ...]] = [
        (one["name"], one["size"], f"{one['signed_at']:%Y-%m-%d %H:%M:%S}" if one["signed_at"] else None,
         yes_no(yes=one["problem"] is None, text=one["problem"] or "well"))
        for one in log["witnesses"]
    ]  # fmt: skip
    if rows:
        out.print(table("Witnesses", "name", "signed", "at (UTC)", "", rows=rows, right=(1,)))
        out.print()


def _say_call_registers(registers: list[dict[str, Any]]) -> None:
    rows: list[tuple[Any, ...]] = []
    for one in registers:
        if one["snapshot_at"] is None:
            rows.append((one["register"], "never imported", None, None, None))
            continue
        hours = one["stale_in_seconds"] / 3600
        stale = yes_no(yes=hours > 0, text=f"{hours:,.1f} h" if hours > 0 else "stale")
        rows.append(
            (one["register"], f"{one['snapshot_at']:%Y-%m-%d %H:%M}", one["numbers"], one["digest"][:16], stale)
        )
    if rows:
        title = "Do-not-call registers"
        out.print(table(title, "register", "snapshot of", "numbers", "digest", "stale in", rows=rows, right=(2,)))
        out.print()
