"""Each fault of `seeded_faults` is put into a copy of the package, and its test must fail there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep.seeded_faults import FAULTS, Fault

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED = ("forgather_spool", "tests", "bin", "units", "pyproject.toml")
FAILED = 1  # pytest's exit code for tests that ran and failed, and for nothing else


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its tests, to be spoiled. With bytecode: what a sweep starts writes none."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("*.pyc.*"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def run(copy: Path, *checks: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *checks]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(copy), "FORGATHER_LONG_TESTS": "0", "TMPDIR": str(copy)}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and some take seconds to import
    return subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_seeded_fault_is_found(fault: Fault, copy: Path) -> None:
    path = copy / "forgather_spool" / fault.path
    text = path.read_text()
    assert text.count(fault.right) == 1, "the code has changed: seed this fault anew"
    path.write_text(text.replace(fault.right, fault.wrong))

    done = run(copy, fault.check)

    assert done.returncode == FAILED, f"{fault.check} noticed nothing:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
    assert "SyntaxError" not in done.stdout


def test_without_a_fault_the_same_checks_pass_in_a_copy(copy: Path) -> None:
    """Else what failed above may have failed for being a copy."""
    done = run(copy, *sorted({fault.check for fault in FAULTS}))

    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout
