"""Imports go one way. This is what keeps the rooms of docs/explanation/rooms.md true."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "forgather_spool"
VALUES = {
    "array",
    "job",
    "outcome",
    "command",
    "gpu",
    "schema",
    "fields",
    "document",
    "pending",
    "phrases",
    "guard",
    "again",
    "frozen",
}
BELOW = {
    "errors": set(),
    "importing": set(),
    "values": {"errors"},
    "policy": {"values", "errors"},
    "spool": {"values", "errors"},
    "host": {"values", "errors"},
    "runner": {"spool", "host", "values", "errors"},
    "web": {"values", "errors"},
    "endpoint": {"web", "spool", "host", "values", "errors"},
    "trainer": {"endpoint", "trainers", "spool", "host", "values", "errors"},
    "trainers": {"spool", "host", "values", "errors"},
    "runs": {"spool", "values", "errors"},
    "trainer_control": {"trainers", "spool", "host", "values", "errors"},
    "training": {"dataset", "trainer", "spool", "host", "values", "errors"},
    "notify": {"spool", "host", "values", "errors"},
    "tls": {"spool", "values", "errors"},
    "snapshot": {"spool", "host", "values", "errors"},
    "dispatcher": {"snapshot", "runner", "policy", "trainers", "spool", "host", "values", "errors"},
    "dataset": {"tls", "spool", "values", "errors"},
    "dataset_server": {"web", "dataset", "tls", "spool", "host", "values", "errors"},
    "doctor": {"dispatcher", "policy", "spool", "host", "values", "errors"},
}
THIRD_PARTY = {
    "click": {"cli"},
    "rich": {"cli"},
    "textual": {"cli"},
    "jeepney": {"host"},
    "pynvml": {"host"},
    "filelock": {"spool"},
    "aiohttp": {"web", "endpoint", "dataset_server"},
    "awscrt": {"dataset"},
    "orjson": {"dataset_server"},
    "yaml": {"training", "dataset_server"},
    "torch": {"trainer", "training", "dataset"},
    "numpy": {"dataset", "dataset_server", "training"},
    "pyarrow": {"dataset", "dataset_server", "training"},
    "datasets": {"dataset", "training"},
    "transformers": {"trainer", "training"},
    "lightning": {"trainer"},
    "pytorch_lightning": {"trainer"},
    "matplotlib": {"runs"},
    "cryptography": {"tls"},
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def room_of(dotted: str) -> str:
    name = dotted.split(".")[1] if "." in dotted else ""
    return "values" if name in VALUES else name


def imports_of(path: Path) -> Iterator[str]:
    """Every module `path` imports, also inside functions and for type checking, as a dotted name."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names) if stem == PACKAGE.name else [stem]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_below_it(path: Path) -> None:
    """cli may import anything; a program's `__main__` may use cli to report its errors, and hasten what it imports."""
    room = room_of(".".join([PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]))
    if room in ("cli", "__init__", "__main__"):
        return
    allowed = BELOW[room] | {room} | ({"cli", "importing"} if path.name == "__main__.py" else set())

    for name in imports_of(path):
        if name.startswith(PACKAGE.name + "."):
            assert room_of(name) in allowed | {"__version__"}, f"{room} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_used_in_the_rooms_that_are_about_it(path: Path) -> None:
    """The spool and the runner stand on the standard library alone (filelock guards edits of settings)."""
    room = room_of(".".join([PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]))
    for name in imports_of(path):
        top = name.partition(".")[0]
        if top != PACKAGE.name and top not in sys.stdlib_module_names:
            assert room in THIRD_PARTY.get(top, {"training"}), f"{room} imports {top}"


def test_one_place_links_renames_and_syncs() -> None:
    """`spool/files/` is where durability is decided."""
    calls = {"fsync", "fdatasync", "link", "rename", "replace", "renames"}
    rooms = ("spool", "runner", "dispatcher", "trainer", "host", "cli", "endpoint")
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] not in rooms or path.parent.name == "files":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in calls, f"{path.name}:{node.lineno} os.{node.attr}"
