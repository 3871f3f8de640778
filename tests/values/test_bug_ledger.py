"""Bug ledger and reliability page name tests that exist: a row that cannot be run is a story, not a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/explanation/bug-ledger.md").read_text()
PROMISED = (ROOT / "docs/explanation/reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT + PROMISED)))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda part: part or "whole")
def test_a_test_of_the_ledger_is_there(path: str, name: str) -> None:
    functions = {
        node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)
    }

    assert not name or name in functions


def test_it_has_a_row_for_each_bug_with_all_four_columns() -> None:
    rows = [line for line in TEXT.splitlines() if re.search(r"\| [0-9a-f]{7} \|", line)]

    assert len(rows) >= 40
    assert all(len(re.split(r"(?<!\\)\|", row)) == 6 for row in rows)
