"""`bin/forgather` from a checkout nobody installed: with any Python that has click."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


def test_a_job_runs_from_a_checkout_that_is_not_installed(tmp_path: Path) -> None:
    """The dispatcher it starts must find the package without an installation to find it in."""
    copy = tmp_path / "checkout"
    (copy / "bin").mkdir(parents=True)
    (copy / "bin" / "forgather").write_bytes((ROOT / "bin" / "forgather").read_bytes())
    subprocess.run(["cp", "-rL", ROOT / "forgather_spool", copy / "forgather_spool"], check=True)
    # -S: no site-packages, so no editable installation of this checkout helps.
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FORGATHER_HOME": str(tmp_path / "home")}
    env |= {"FORGATHER_HOST_KIND": "process", "FORGATHER_IDLE_S": "0.1"}
    submit = [sys.executable, "-S", copy / "bin" / "forgather", "submit", "--", "touch", str(tmp_path / "ran")]

    done = subprocess.run(submit, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    wait_until((tmp_path / "ran").exists, what="the job")
