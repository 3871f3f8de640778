"""`forgather submit`: from what was given to a job in the queue, or to many.

Decides nothing about running it. On return the job is on disk for good; the
dispatcher is then woken, which may fail without harm. Remarks go to stderr.
"""

from __future__ import annotations

import os
import sys

from forgather_spool.cli import complain, warn
from forgather_spool.cli.submit import one
from forgather_spool.cli.submit.options import Given
from forgather_spool.document import Document, dump
from forgather_spool.errors import UsageError
from forgather_spool.spool.entrance import Entrance
from forgather_spool.spool.submit import submit


def run(given: Given, words: list[str]) -> int:
    """Submit, or show what would be. `given` and `words` as `options.split` has them.

    Raises:
        UsageError: a value that cannot be meant; it names the option.
        SpoolUnsafe, StorageFailed: there is no safe place for it; nothing was submitted.
    """
    if "batch" in given:
        from forgather_spool.cli.submit import many

        return many.run(given, words)
    if "follow" in given and "array" in given:
        raise UsageError("--follow with --array: one terminal follows one job", hint="forgather job wait --all JOB...")
    spool = Entrance()
    spec, remarks = one.spec_of(given, words, os.environ, spool)
    remarks += one.refuse_too_many_gpus(spec, spool.paths)
    if not given.get("quiet"):
        for remark in remarks:
            warn(remark)
    if given.get("dry-run"):
        sys.stdout.write(dump(spec).decode())
        return 0
    if "snapshot" in given:
        one.snapshots_for(spool, given).add_to(spec)
    if "array" in spec:
        from forgather_spool.cli.submit import many

        return many.submit_array(given, spec)
    job_id = submit(spool.create(), spec)
    try:
        _say(given, spec, job_id)
    finally:
        if not spec.get("hold"):
            one.wake_up(spool.paths, quiet=bool(given.get("quiet")))
    if given.get("follow"):
        from forgather_spool.cli import packages

        packages.make_findable()
        from forgather_spool.cli.job import following
        from forgather_spool.spool.queue import Spool

        return following.stream(Spool(spool.paths.home), job_id, lines=None, follow=True)
    return 0


def _say(given: Given, spec: Document, job_id: str) -> None:
    """The answer goes out before anybody is woken: the job is safe, whatever comes now."""
    if given.get("json"):
        line = dump({"job_id": job_id, **spec}).decode()
    elif given.get("quiet"):
        line = f"{job_id}\n"
    else:
        line = f"{one.entered(job_id, spec)}\n"
    if given.get("follow"):  # stdout is the job's
        complain(line.rstrip("\n"))
        return
    one.answer(line, f"the job is queued as {job_id}, but its id")
