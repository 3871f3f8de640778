"""The example that its readers will copy works, and says what its page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/dataset"


def test_the_example_goes_on_when_its_server_is_killed(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("FORGATHER_")}
    command = [sys.executable, str(EXAMPLE / "stream.py")]

    done = subprocess.run(
        command, env=env | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=600
    )

    assert done.returncode == 0, done.stderr
    for line in re.sub(r":[0-9]{4,5},", ":35559,", done.stdout).splitlines():
        assert f"    {line}\n" in (EXAMPLE / "README.md").read_text()
