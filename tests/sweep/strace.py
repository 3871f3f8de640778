"""Killing or failing a program at each of its system calls in turn, with strace(1).

`points` runs it once and lists the calls it makes from the first that touches
the spool; `inject` runs it again and lets the Nth call of a name end it, or
fail, *before* the kernel carries it out. Only the process itself is traced,
not its children, so N means the same in every run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHANGES = (
    "mkdir,mkdirat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,symlink,symlinkat,"
    "fsync,fdatasync,write,pwrite64,ftruncate,chmod,fchmod,flock"
)
LOOKS = "open,openat,getdents64,close"
TALKS = "connect,sendto,sendmsg,recvmsg,recvfrom,pidfd_open,inotify_add_watch,pipe2,fork,vfork,clone,clone3"
LIMIT_S = 60


@dataclass(frozen=True)
class Point:
    """The `nth` call (from 1) of `call` that the program makes."""

    call: str
    nth: int

    def __str__(self) -> str:
        return f"{self.call}-{self.nth}"


def why_not() -> str | None:
    """Why nothing can be traced here; None: it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return None if probe.returncode == 0 else f"strace does not work here: {probe.stderr.strip()[:100]}"


def points(argv: list[str], env: dict[str, str], log: Path, touches: str, calls: str) -> list[Point]:
    """Every call in `calls` from the first whose line mentions `touches` (a path)."""
    subprocess.run(
        ["strace", "-o", str(log), "-e", f"trace={calls}", *argv], env=env, capture_output=True, timeout=LIMIT_S
    )
    counted: dict[str, int] = {}
    found = []
    touched = False
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"([a-z0-9_]+)\(", line)
        if match is None:
            continue
        call = match.group(1)
        counted[call] = counted.get(call, 0) + 1
        touched = touched or touches in line
        if touched:
            found.append(Point(call, counted[call]))
    return found


def inject(
    argv: list[str], env: dict[str, str], point: Point, effect: str, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run `argv` with `effect` at `point`: "signal=KILL", or "error=ENOSPC" and the like."""
    trace = ["strace", "-o", "/dev/null", "-e", f"trace={point.call}"]
    fault = ["-e", f"inject={point.call}:{effect}:when={point.nth}"]
    return subprocess.run([*trace, *fault, *argv], env=env, capture_output=True, text=True, timeout=LIMIT_S, **options)
