"""A dispatcher that leaves, and a submit at that very moment, on a real systemd."""

from __future__ import annotations

import sys

from tests.hosts import REPOSITORY, TestHost

# The dispatcher leaves as soon as there is nothing to do; each submit comes the moment its lock is free.
SUBMITS = """
import fcntl, os, sys
from forgather_spool.dispatcher.wake import wake
from forgather_spool.spool.queue import Spool
from tests.waiting import wait_until
spool = Spool().create()
lock = spool.paths.host_lock(os.environ["FORGATHER_HOST"])
for number in range(int(sys.argv[1])):
    if number:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    job_id = spool.submit({"argv": ["true"], "cwd": "/", "env": {"PATH": "/usr/bin:/bin"}})
    wake(spool.paths)
    wait_until(lambda: spool.has_result(job_id), 20, f"the end of job {number}")
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

    done = systemd_host.run(sys.executable, "-c", SUBMITS, "10", env=env, check=False, timeout_s=120)

    assert done.returncode == 0, done.stderr
