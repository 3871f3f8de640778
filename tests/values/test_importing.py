"""Modules that are found our way are those that Python's way would find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TELL = (
    "from forgather_spool.importing import hasten; hasten(); import forgather_spool.part.leaf as leaf; print(leaf.WORD)"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """One called as ours, with a package and a module in it."""
    package = tmp_path / "forgather_spool"
    (package / "part").mkdir(parents=True)
    for name in ("__init__.py", "part/__init__.py"):
        (package / name).touch()
    (package / "importing.py").write_bytes((ROOT / "forgather_spool" / "importing.py").read_bytes())
    (package / "part" / "leaf.py").write_text("WORD = 'first'\n")
    return package


def tell(package: Path, program: str = TELL, *options: str) -> str:
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, env={}, cwd=package.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def compiled(package: Path) -> Path:
    return package / "part" / "__pycache__" / f"leaf.{sys.implementation.cache_tag}.pyc"


def test_what_is_not_compiled_is_compiled_for_the_next_time(package: Path) -> None:
    assert tell(package) == "first"
    assert compiled(package).exists()
    assert tell(package) == "first"


def test_a_compiled_file_is_what_is_run(package: Path) -> None:
    """Else nothing here would be faster: the source is not looked into while its time and size are as they were."""
    tell(package)
    source = package / "part" / "leaf.py"
    before = source.stat()
    source.write_text("WORD = 'other'\n")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert tell(package) == "first"


@pytest.mark.parametrize("change", ["its time", "its size"])
def test_a_changed_source_is_compiled_again(package: Path, change: str) -> None:
    tell(package)
    source = package / "part" / "leaf.py"
    before = source.stat()
    source.write_text("WORD = 'other'\n" if change == "its time" else "WORD = 'longer than that'\n")
    then_ns = before.st_mtime_ns + (10**10 if change == "its time" else 0)
    os.utime(source, ns=(then_ns, then_ns))

    assert tell(package) == ("other" if change == "its time" else "longer than that")


@pytest.mark.parametrize("data", [b"", b"garbage", b"\0" * 64], ids=["empty", "short", "another format"])
def test_a_compiled_file_that_is_none_is_made_anew(package: Path, data: bytes) -> None:
    tell(package)
    compiled(package).write_bytes(data)

    assert tell(package) == "first"


@pytest.mark.parametrize("loads", ["", "load('part', 'part.leaf');"], ids=["imported", "loaded"])
def test_a_module_knows_of_itself_what_it_always_does(package: Path, loads: str) -> None:
    """Its file, its package's folder, and its source, for those that ask."""
    asks = TELL.replace("import hasten; hasten();", f"import hasten, load; hasten(); {loads}") + (
        "; import inspect, pkgutil, forgather_spool.part as part"
        "; print(leaf.__file__, part.__path__, leaf.__package__, inspect.getsource(leaf).strip()"
        ", pkgutil.get_data('forgather_spool.part', 'leaf.py'), leaf.__cached__)"
    )
    pythons_own = asks.replace("hasten();", "")

    assert tell(package, asks) == tell(package, pythons_own)


def test_with_minus_o_it_is_all_python_s(package: Path) -> None:
    tell(package)
    (package / "part" / "leaf.py").write_text("WORD = 'first' if __debug__ else 'last'\n")

    assert tell(package, TELL, "-O") == "last"


def test_others_and_what_is_not_there_are_left_to_python(package: Path) -> None:
    program = TELL + (
        "\nimport colorsys"
        "\ntry: import forgather_spool.part.nothing"
        "\nexcept ModuleNotFoundError as error: print(error.name, colorsys.__spec__.loader.__class__.__name__)"
    )

    assert tell(package, program).splitlines() == ["first", "forgather_spool.part.nothing SourceFileLoader"]


def test_what_is_loaded_is_what_would_be_imported(package: Path) -> None:
    """Once, and bound in its package; a name that is none is left for an import to complain of."""
    (package / "part" / "leaf.py").write_text("WORD = 'first'; print('runs')\n")
    program = (
        "from forgather_spool.importing import hasten, load; hasten(); load('part', 'part.leaf', 'part.nothing')"
        "\nimport sys; part = sys.modules['forgather_spool.part']; print(part.leaf.WORD)"
        "\nfrom forgather_spool.part.leaf import WORD; print(WORD, hasattr(part, 'nothing'))"
    )

    assert tell(package, program).splitlines() == ["runs", "first", "first False"]


def test_a_module_that_fails_while_it_is_loaded_is_not_there(package: Path) -> None:
    (package / "part" / "leaf.py").write_text("raise RuntimeError\n")
    program = (
        "import sys; from forgather_spool.importing import hasten, load; hasten()"
        "\ntry: load('part', 'part.leaf')"
        "\nexcept RuntimeError: print('forgather_spool.part.leaf' in sys.modules)"
    )

    assert tell(package, program) == "False"


def test_nothing_is_loaded_where_all_is_left_to_python(package: Path) -> None:
    program = "import sys; from forgather_spool.importing import load; load('part')"
    program += "; print('forgather_spool.part' in sys.modules)"

    assert tell(package, program) == "False"
