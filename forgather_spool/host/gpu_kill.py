"""Killing what computes on a card, for a card that is wedged.

NVML gives pids, and a pid is given out again once its process is gone: each is
told by its start time as well. In a container NVML may count pids as the host
does; killed here, they would be somebody else. So outside the machine's own pid
namespace a process must have an NVIDIA device open before it is believed to be
the one NVML means.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forgather_spool.host import proc

PATIENCE_S = 10.0  # the driver may hold a dying process for seconds while it frees the card's memory
POLL_INTERVAL_S = 0.05
_MACHINE_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO in linux/proc_ns.h


@dataclass(frozen=True, slots=True)
class Target:
    """A process as it was when it was looked at. `spared` says why it is not to be killed; None: it is."""

    pid: int
    start_ticks: int | None
    spared: str | None


def targets_of(pids: Sequence[int]) -> list[Target]:
    """What killing `pids` would mean, one target for each."""
    protected = _own_family()
    return [_target(pid, protected) for pid in pids]


def kill(targets: Sequence[Target], patience_s: float = PATIENCE_S) -> Mapping[int, str]:
    """SIGKILL each, and wait until they are gone. Pid to why it is still there; empty: none is.

    A target that has ended meanwhile is fine. Spared ones are left alone, and named.
    """
    failed: dict[int, str] = {}
    waited_for: list[Target] = []
    for target in targets:
        problem = _kill_one(target)
        if problem is None:
            waited_for.append(target)
        else:
            failed[target.pid] = problem
    deadline = time.monotonic() + patience_s
    while (alive := [target for target in waited_for if _is_alive(target)]) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
    still = f"was killed and is still there after {patience_s:g} s: the driver holds it"
    return failed | {target.pid: still for target in alive}


def _target(pid: int, protected: frozenset[int]) -> Target:
    start_ticks = proc.start_ticks(pid) if pid > 0 else None
    if pid <= 1 or pid in protected:
        return Target(pid, start_ticks, "is this very program or one it was started by")
    if start_ticks is None:
        return Target(pid, None, "cannot be seen from here (another container's?)")
    if not _is_machine_pid_namespace() and not _has_nvidia_open(pid):
        return Target(pid, start_ticks, "has no NVIDIA device open: in a container, NVML may mean another process")
    return Target(pid, start_ticks, None)


def _kill_one(target: Target) -> str | None:
    if target.spared is not None:
        return target.spared
    if not _is_alive(target):
        return None
    try:
        os.kill(target.pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "belongs to another user: only root may kill it"
    return None


def _is_alive(target: Target) -> bool:
    return target.start_ticks is not None and proc.is_alive(target.pid, target.start_ticks)


def _own_family() -> frozenset[int]:
    """This process and its ancestors."""
    family = set()
    pid: int | None = os.getpid()
    while pid:
        family.add(pid)
        pid = proc.parent_of(pid)
    return frozenset(family)


def _is_machine_pid_namespace() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == _MACHINE_PID_NAMESPACE
    except OSError:
        return False


def _has_nvidia_open(pid: int) -> bool:
    try:
        links = [entry.path for entry in os.scandir(f"/proc/{pid}/fd")]
    except PermissionError:
        return True  # another user's: the kernel will refuse the signal and the reason is the better one
    except OSError:
        return False
    return any(os.path.basename(_target_of(link)).startswith("nvidia") for link in links)


def _target_of(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""
