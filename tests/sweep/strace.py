"""Killing or failing a program at each of its system calls in turn, with strace(1).

`points` runs it once and lists its calls that touch the spool or talk to
somebody; `inject` runs it again and lets one of them end it, or fail, *before*
the kernel carries it out. Only the process itself is traced, not its children,
so the Nth call of a name is the same one in every run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "mkdir,mkdirat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,symlink,symlinkat,chmod,fchmod,fchmodat,"
    "open,openat,stat,lstat,newfstatat,statx,write,pwrite64,ftruncate,fsync,fdatasync,syncfs,close,getdents64,flock,"
    "connect,sendto,sendmsg,recvmsg,recvfrom,fork,vfork,clone,clone3,execve,pidfd_open,inotify_add_watch"
)
STATS = {"stat", "lstat", "newfstatat", "statx"}
LOOKS = STATS | {"open", "openat", "close", "getdents64", "recvmsg", "recvfrom", "pidfd_open", "inotify_add_watch"}
TALK = ("<socket:", "<pipe:", "<UNIX", "fork(", "clone(", "clone3(")
LIMIT_S = 20
LONG = os.environ.get("FORGATHER_LONG_TESTS") == "1"  # every call and every error, not one error for each call
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EMFILE")


@dataclass(frozen=True)
class Point:
    """The `nth` call (from 1) of `call` that the program makes."""

    call: str
    nth: int
    only_looks: bool = False  # dying before it leaves the files as dying before the next call does
    shape: str = ""  # the call as strace writes it, less its home and all numbers
    alike: int = 0  # how many of this shape came before: at another job, in another turn of the loop

    def __str__(self) -> str:
        return f"{self.call}-{self.nth}"


def why_not() -> str | None:
    """Why nothing can be traced here; None: it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else f"strace does not work here: {probe.stderr.strip()[:100]}"


def points(argv: Sequence[str], env: dict[str, str], log: Path, home: str, seen: Iterable[Point] = ()) -> list[Point]:
    """From the first call on `home` on: every one that names a path below it, or talks to somebody.

    `seen` are those of another walk, which count for how many are alike.
    """
    command = ["strace", "-y", "-s", "300", "-o", str(log), "-e", f"trace={CALLS}", *argv]
    subprocess.run(command, env=env, capture_output=True, timeout=LIMIT_S, check=True)
    counted: Counter[str] = Counter()
    shapes = Counter(point.shape for point in seen)
    found: list[Point] = []
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"([a-z0-9_]+)\(", line)
        if match is None:
            continue
        call = match.group(1)
        counted[call] += 1
        if home in line or (found and _talks(call, line)):
            shape = re.sub(r"[0-9a-f]{6,}|[0-9]+", "#", line.partition(" = ")[0].replace(home, ""))
            looks = call in LOOKS and "O_CREAT" not in line
            found.append(Point(call, counted[call], looks, shape, shapes[shape]))
            shapes[shape] += 1
    return found


def _talks(call: str, line: str) -> bool:
    return call not in STATS and any(mark in line for mark in TALK)


def faults(point: Point) -> list[str]:
    """The errors this call can meet. Without `LONG` one of them, another for each point in turn, and only for the first
    look of a shape and its first two changes.
    """
    if not LONG and point.alike >= (1 if point.only_looks else 2):
        return []
    if point.call in LOOKS | {"flock"} and not point.call.startswith("open"):
        return ["EIO"] if point.call != "close" or LONG else []
    able = [name for name in ERRORS if point.call in {"open", "openat"} or name != "EMFILE"]
    return able if LONG else [able[point.nth % len(able)]]


@dataclass(frozen=True)
class Disturbed:
    """How a run with a fault ended. `hit`: the fault met what it was meant for, not another call of that number."""

    returncode: int
    stdout: str
    stderr: str
    hit: bool


def inject(argv: Sequence[str], env: dict[str, str], point: Point, effect: str, log: Path, home: str) -> Disturbed:
    """Run `argv` with `effect` at `point`: "signal=KILL", or "error=ENOSPC" and the like."""
    trace = ["strace", "-y", "-s", "300", "-o", str(log), "-e", f"trace={point.call}"]
    command = [*trace, "-e", f"inject={point.call}:{effect}:when={point.nth}", *argv]
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        stdout, stderr = run.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)  # strace alone would leave what it traces behind
        stdout, stderr = run.communicate()
        return Disturbed(124, stdout, f"{stderr}\nit did not end within {LIMIT_S} s", True)
    met = [
        line for line in log.read_text(errors="replace").splitlines() if "(INJECTED)" in line or "+++ killed" in line
    ]
    hit = any(home in line or "killed" in line or _talks(point.call, line) for line in met)
    return Disturbed(run.returncode, stdout, stderr, hit)
