"""Checks of what any machine has: an interpreter, descriptors, a clock."""

from __future__ import annotations

import resource
import sys
import time

from forgather_spool.doctor.finding import Subject, Verdict, fail, note, ok, warn
from forgather_spool.spool.names import submitted_unix_s
from forgather_spool.spool.place import all_job_ids

OLDEST_PYTHON = (3, 11)
FEW_OPEN_FILES = 256  # a dispatcher launching a batch has three for each job under way
CLOCK_SLACK_S = 60.0  # hosts of one spool agree on the time about as well as this
YEAR_OF_RELEASE_UNIX_S = 1735689600  # 2025: a clock before it was never set


def check_python(subject: Subject) -> Verdict:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return fail(f"Python {version} is too old", "install Python 3.11 or newer, and forgather with it")
    return ok(f"Python {version}, {sys.executable}")


def check_open_files(subject: Subject) -> Verdict:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FEW_OPEN_FILES:
        return ok(f"a process may have {_count(soft)} open, {_count(hard)} if it asks")
    return warn(f"a process may have only {soft} files open", "raise it: ulimit -n 1024, or nofile in limits.conf(5)")


def _count(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else str(limit)


def check_clock(subject: Subject) -> Verdict:
    """A clock that was set back puts new jobs before old ones of the same priority; nothing is lost by it."""
    mend = "check `timedatectl`; set the clock by NTP"
    now = subject.now_unix_s
    if now < YEAR_OF_RELEASE_UNIX_S:
        return warn(f"the clock says {_day(now)}: it was never set", mend)
    booted = _booted_unix_s()
    if booted is not None and booted > now + CLOCK_SLACK_S:
        return warn(f"the clock says that the machine boots in {booted - now:.0f} s: it was set back", mend)
    ahead_s = max((submitted_unix_s(job_id) for job_id in all_job_ids(subject.spool)), default=now) - now
    if ahead_s > CLOCK_SLACK_S:
        return note(
            f"a job was submitted {ahead_s:.0f} s in the future: a clock was set back, or another host's is fast", mend
        )
    return ok(f"{_day(now)}, and no job is from the future")


def _booted_unix_s() -> float | None:
    try:
        with open("/proc/stat") as lines:
            return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)
    except OSError:
        return None


def _day(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s))
