"""``python -m tests.sweep.lone_runner HOME JOB_ID [CARD]``: a runner as the nursery forks it, but one to be traced.

It claims the job, names itself in the claim, and runs it, with its pauses after a failure cut to nothing. With the
UUID of the first card, the job has that card and may be asked to give it away.
"""

from __future__ import annotations

import os
import sys

from forgather_spool.cli import reported
from forgather_spool.host import proc
from forgather_spool.runner import result
from forgather_spool.runner.ready import make_ready
from forgather_spool.runner.request import Request
from forgather_spool.runner.run import run_job
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.watch import Watch
from tests.story.world import HOST


def main(home: str, job_id: str, *cards: str) -> int:
    spool, me = Spool(home), os.getpid()
    gpus = [{"index": index, "uuid": uuid} for index, uuid in enumerate(cards)]
    scope = f"forgather-job-{job_id}-1.scope"
    spool.claim((0, job_id), HOST)
    claim = {
        "version": 1, "attempt": 1, "host": HOST, "host_kind": "process", "boot_id": proc.boot_id(), "scope": scope,
        "priority": 0, "gpus": gpus, "runner": {"pid": me, "start_ticks": proc.start_ticks(me)},
        "claimed_at": utc_now(), "terms": {"preemptible": bool(cards)},
    }  # fmt: skip
    spool.write_claim(job_id, claim)
    request = {
        "job_id": job_id, "priority": 0, "host": HOST, "attempt": 1, "scope": scope, "gpus": gpus,
        "env": {"PATH": os.environ["PATH"], "HOME": "/"}, "cuda_visible_devices": ",".join(cards),
    }  # fmt: skip
    result.TRY_AGAIN_S = 0.02
    told = Request(request)
    run_job(make_ready(told, home, is_early=bool(cards)), Watch())  # as with a scope, and as without
    return 0


if __name__ == "__main__":
    sys.exit(reported(lambda: main(*sys.argv[1:])))
