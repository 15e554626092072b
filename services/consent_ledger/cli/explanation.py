"""An explanation of an answer, as people read it."""

from typing import Any

from rich.text import Text

from consent_ledger.cli.terminal import out, table


def say_explanation(explanation: dict[str, Any]) -> None:
    """Print why the answer is what it is, what it rests on, and what would change it."""
    for reason in explanation["reasons"]:
        say_rule(reason)
        if reason["entries"]:
            out.print(_entries("", reason["entries"]))
    if explanation["without_effect"]:
        out.print(_entries("Without effect", explanation["without_effect"]))
    out.print(Text.assemble("\n", ("What would change it", "bold"), f"\n{explanation['outlook']}"))
    for number, change in enumerate(explanation["changes"], 1):
        for place, step in enumerate(change["steps"]):
            begin = f"{number}." if place == 0 else "  "
            out.print(Text.assemble(f"{begin} {step['text']} ", (f"{step['event']}, by the {step['by']}", "dim")))
        for name, text in (("later_than", "later than"), ("until", "until")):
            if change[name] is not None:
                out.print(Text(f"   {text} {change[name]}", style="dim"))


def say_rule(reason: dict[str, Any]) -> None:
    """Print a reason with its meaning, articles, and rows of the decision tables."""
    where = ", ".join(reason["articles"])
    if reason["rows"]:
        where += f"; rows {' '.join(reason['rows'])}"
    out.print(Text.assemble("\n", (reason["reason"], "bold"), f"  {reason['text']}  ", (where, "dim")), soft_wrap=True)


def _entries(title: str, entries: list[dict[str, Any]]) -> Any:
    rows = [
        (
            entry["time"],
            entry["type"],
            entry["source"],
            f"{entry['shard']}/{entry['position']}",
            "; ".join(entry["notes"]),
        )
        for entry in entries
    ]
    return table(title, "time", "event", "source", "place", "", rows=rows)
