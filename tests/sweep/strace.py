"""Killing or failing a program at each of its system calls in turn, with strace(1).

`points` runs it once and lists its calls that touch the spool or talk to
somebody; `inject` runs it again and lets one of them end it, or fail, *before*
the kernel carries it out. It is a program of ours, forked from an interpreter that
has imported it (`programs`), and traced from its first line on. Only the process itself is traced, not its children,
so the Nth call of a name is the same one in every run.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.sweep import programs

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
    returncode, _, stderr = _traced(argv, env, log, "-e", f"trace={CALLS}")
    assert returncode == 0, stderr
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
    options = ["-e", f"trace={point.call}", "-e", f"inject={point.call}:{effect}:when={point.nth}"]
    returncode, stdout, stderr = _traced(argv, env, log, *options)
    if returncode is None:
        return Disturbed(124, stdout, f"{stderr}\nit did not end within {LIMIT_S} s", True)
    met = [
        line for line in log.read_text(errors="replace").splitlines() if "(INJECTED)" in line or "+++ killed" in line
    ]
    hit = any(home in line or "killed" in line or _talks(point.call, line) for line in met)
    return Disturbed(returncode, stdout, stderr, hit)


def _traced(argv: Sequence[str], env: dict[str, str], log: Path, *options: str) -> tuple[int | None, str, str]:
    """Run `argv` under strace, from before its first line: how it ended, and what it said.

    None for how: within `LIMIT_S` it did not end, or what it started kept its pipes open. All were killed.
    """
    pipes = os.pipe(), os.pipe()
    program = programs.begin(argv, env, *(write_fd for _, write_fd in pipes))
    for _, write_fd in pipes:
        os.close(write_fd)
    command = ["strace", "-y", "-s", "300", "-o", str(log), *options, "-p", str(program.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
        program.go()
        deadline = time.monotonic() + LIMIT_S
        stdout, stderr = (_all_of(read_fd, deadline) for read_fd, _ in pipes)
        returncode = program.wait(LIMIT_S) if time.monotonic() < deadline else None
        if returncode is None:
            os.killpg(program.pid, signal.SIGKILL)
    return returncode, stdout, stderr


def _all_of(pipe_fd: int, deadline: float) -> str:
    """What comes out of a pipe until nobody can write any more, or until the deadline."""
    pieces = []
    with open(pipe_fd, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = pipe.read(65536)
            if not piece:
                break
            pieces.append(piece)
    return b"".join(pieces).decode(errors="replace")
