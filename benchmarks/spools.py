"""Filling spools, and dispatchers over them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.measure import await_that
from forgather_spool.document import dump
from forgather_spool.spool import files
from forgather_spool.spool.names import new_job_id
from forgather_spool.spool.paths import Paths

TRUE = {"version": 1, "argv": ["true"], "cwd": "/", "env": {"PATH": "/usr/bin:/bin"}}


def fill(home: Path, count: int) -> None:
    """`count` waiting jobs. Without fsync: what is measured comes after."""
    paths, data = Paths(str(home)), dump(TRUE)
    for _ in range(count):
        path = paths.queued(new_job_id(), 0)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, files.FILE_MODE)
        os.write(fd, data)
        os.close(fd)


def set_dispatch(home: Path, **settings: object) -> None:
    """`no_gpu_limit`, `paused`: as `forgather sched limit` and `sched pause` leave them."""
    paths = Paths(str(home))
    files.replace(paths.dispatch, {"version": 1, **settings}, paths.tmp)


@contextmanager
def dispatcher(lab: Lab, env: Mapping[str, str], *, idle_s: float = 600) -> Iterator[subprocess.Popen[bytes]]:
    """A dispatcher that is awake, for the home `env` names; ended when left."""
    paths = Paths(env["FORGATHER_HOME"])
    process = start_dispatcher(lab, env, idle_s=idle_s)
    try:
        published = paths.host(env["FORGATHER_HOST"])
        await_that(lambda: _published_by(published) > 0, "the dispatcher to look for the first time")
        yield process
    finally:
        pid = _published_by(published)
        if pid > 0:
            os.kill(pid, signal.SIGTERM)
        else:  # it never looked: 0 would be all of us
            process.terminate()
        process.wait()


def start_dispatcher(lab: Lab, env: Mapping[str, str], *, idle_s: float) -> subprocess.Popen[bytes]:
    """What is returned ends with it. For jobs in scopes it is a user unit, as it is for everybody.

    From a login's own scope systemd moves processes only by way of the system's manager, which costs milliseconds.
    """
    env = {**env, "FORGATHER_IDLE_S": str(idle_s)}
    command = [str(lab.python), "-P", "-m", "forgather_spool.dispatcher"]
    if env.get("FORGATHER_HOST_KIND") == "systemd":
        passed = [f"--setenv={name}" for name in env if name.startswith("FORGATHER_")]
        command = ["systemd-run", "--user", "--quiet", "--collect", "--wait", *passed, "--", *command]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=env, stdin=quiet, stdout=quiet, stderr=quiet)


def ended(home: Path) -> int:
    paths = Paths(str(home))
    return sum(len(files.names(paths.done_on(day))) for day in files.names(paths.done))


def _published_by(path: str) -> int:
    """The pid of the dispatcher that looked last; 0 before the first."""
    try:
        return int(str(files.read_document(path).get("dispatcher_pid") or 0))
    except FileNotFoundError:
        return 0
