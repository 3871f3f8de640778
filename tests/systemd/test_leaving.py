"""A dispatcher that leaves, and submits at that very moment, on a real systemd."""

from __future__ import annotations

import sys

from tests.hosts import REPOSITORY, TestHost

# The dispatcher leaves as soon as there is nothing to do. Each round begins the moment its lock is free: so that each
# needs a life of its own; the further submits of a round meet a dispatcher that starts, works or leaves.
SUBMITS = """
import fcntl, os, random, sys, time
from forgather_spool.dispatcher.wake import wake
from forgather_spool.job import Result
from forgather_spool.outcome import Exited
from forgather_spool.spool import files
from forgather_spool.spool.queue import Spool
from tests.waiting import wait_until
spool, chance = Spool().create(), random.Random(7)
lock = spool.paths.host_lock(os.environ["FORGATHER_HOST"])
rounds, each = int(sys.argv[1]), int(sys.argv[2])
job_ids = []
for number in range(rounds):
    if number:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    for _ in range(each):
        job_ids.append(spool.submit({"argv": ["true"], "cwd": "/", "env": {"PATH": "/usr/bin:/bin"}}))
        wake(spool.paths)
        time.sleep(chance.choice((0, 0, 0.01, 0.05, 0.2)) if each > 1 else 0)
    for job_id in job_ids[-each:]:
        wait_until(lambda: spool.has_result(job_id), 20, f"the end of job {len(job_ids)}")
bad = [i for i in job_ids if Result.from_document(files.read_document(spool.paths.result(i, 1))).outcome != Exited(0)]
assert not bad, bad
assert spool.waiting() == []
"""
ENV = {
    "PYTHONPATH": str(REPOSITORY),
    "FORGATHER_HOME": "/home/forge/spool",
    "FORGATHER_HOST": "box",
    "FORGATHER_HOST_KIND": "systemd",
    "FORGATHER_IDLE_S": "0",
}


def test_a_job_submitted_while_the_dispatcher_leaves_is_started(systemd_host: TestHost) -> None:
    """No units are installed, so no timer would find it: the submit's own start of the unit must count."""
    done = systemd_host.run(sys.executable, "-c", SUBMITS, "10", "1", env=ENV, check=False, timeout_s=120)

    assert done.returncode == 0, done.stderr


def test_a_thousand_submits_across_two_hundred_lives_of_the_dispatcher_forget_none(systemd_host: TestHost) -> None:
    """In four spools beside each other: it is waiting for the most part."""
    homes = [ENV | {"FORGATHER_HOME": f"/home/forge/spool-{number}"} for number in range(4)]
    rounds = [systemd_host.popen(sys.executable, "-c", SUBMITS, "50", "5", env=env) for env in homes]

    for each in rounds:
        _, stderr = each.communicate(timeout=900)
        assert each.returncode == 0, stderr
