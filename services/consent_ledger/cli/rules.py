"""`consent rules`: the reason codes of decisions, in precedence, with their articles and what they mean."""

from rich.text import Text

from consent_ledger.cli.terminal import AsJson, out, say_json, table
from consent_ledger.domain.reasons import PRECEDENCE, RULES


def rules(*, as_json: AsJson = False) -> None:
    """Print the rule book: every reason for a no, the first that applies being reported, and for a yes."""
    if as_json:
        for code, rule in RULES.items():
            say_json({"reason": code, "allow": code not in PRECEDENCE, **rule._asdict()})
        return
    rows = [
        (Text(code, style="" if code in PRECEDENCE else "green"), rule.text, ", ".join(rule.articles))
        for code, rule in RULES.items()
    ]
    out.print(table("Reasons, in precedence", "reason", "meaning", "articles", rows=rows))
