"""A dispatcher that leaves, and a submit at that very moment, on a real systemd."""

from __future__ import annotations

import sys

from tests.hosts import REPOSITORY, TestHost

FORGATHER = f"{sys.executable} -B {REPOSITORY}/bin/forgather"
# The dispatcher leaves as soon as there is nothing to do; each submit comes as soon as its lock is free.
SUBMITS = f"""
import fcntl, glob, os, subprocess, sys
lock = os.path.expanduser("~/spool/hosts/{{}}.lock".format(os.environ["FORGATHER_HOST"]))
for number in range(int(sys.argv[1])):
    if os.path.exists(lock):
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    job = subprocess.run("{FORGATHER} submit --quiet -- true".split(), check=True, capture_output=True, text=True)
    subprocess.run(["timeout", "20", *"{FORGATHER} job wait".split(), job.stdout.strip()], check=True)
"""


def test_a_job_submitted_while_the_dispatcher_leaves_is_started(systemd_host: TestHost) -> None:
    """No units are installed, so no timer would find it: the submit's own start of the unit must count."""
    env = {
        "PYTHONPATH": str(REPOSITORY),
        "FORGATHER_HOME": "/home/forge/spool",
        "FORGATHER_HOST": "box",
        "FORGATHER_HOST_KIND": "systemd",
        "FORGATHER_IDLE_S": "0",
    }

    done = systemd_host.run(sys.executable, "-c", SUBMITS, "8", env=env, check=False, timeout_s=120)

    assert done.returncode == 0, done.stderr
