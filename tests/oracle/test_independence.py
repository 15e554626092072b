"""The oracle shares no code with the product: only the tests that compare the two know both.

Seen to fail: an import of `consent_ledger` in one of the oracle's modules.
"""

import ast
from pathlib import Path

import pytest

LAW = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith(("test_", "compare")))


@pytest.mark.parametrize("module", LAW, ids=lambda path: path.name)
def test_the_oracle_imports_nothing_but_python_and_itself(module: Path) -> None:
    found = {
        name
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    own = {
        "oracle",
        "calendar",
        "unicodedata",
        "collections",
        "dataclasses",
        "datetime",
        "functools",
        "random",
        "re",
        "typing",
    }
    assert {name.partition(".")[0] for name in found} <= own


def test_the_modules_of_the_oracle_are_found() -> None:
    assert {path.name for path in LAW} >= {"law.py", "known.py", "case.py", "consents.py", "refusals.py", "basis.py"}
