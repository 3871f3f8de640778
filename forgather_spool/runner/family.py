"""Every process of the job, however it daemonised: the runner's control group, or all below the runner.

The runner is a subreaper, so where there is no control group of its own a
daemon that loses its parent becomes the runner's child.
"""

from __future__ import annotations

import os

from forgather_spool.host import proc
from forgather_spool.runner import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import resource


class Family:
    """The processes of the scope `scope`, without the runner itself, and what they have used.

    None: no control group was made for them, so there is none to look for.
    """

    def __init__(self, scope: str | None) -> None:
        path = None if scope is None else proc.cgroup_of()
        self._cgroup = path if path is not None and os.path.basename(path) == scope else None
        self._oom_kills_before = self._oom_kills()
        self._reaped_cpu_s = 0.0
        self._reaped_peak_bytes = 0

    def pids(self) -> list[int]:
        """Those alive now."""
        me = os.getpid()
        if self._cgroup is None:
            return proc.descendants(me)
        return [pid for pid in proc.cgroup_pids(self._cgroup) if pid != me]

    def is_gone(self, has_children: bool) -> bool:
        """Whether nobody is left. `has_children`: the runner has children that still run.

        A list of processes misses one that is born while it is read. Below a
        subreaper the children decide; in a control group a second look does.
        """
        if self._cgroup is None:
            return not has_children
        return not self.pids() and not self.pids()

    def signal(self, number: int) -> int:
        """Send it to each; how many got it. TERM wakes stopped ones, so that they can heed it."""
        told = 0
        for pid in self.pids():
            try:
                os.kill(pid, number)
                if number == signals.SIGTERM:
                    os.kill(pid, signals.SIGCONT)
                told += 1
            except (ProcessLookupError, PermissionError):
                pass  # gone meanwhile, or another user's: a setuid program
        return told

    def note_reaped(self, usage: resource.struct_rusage) -> None:
        """One of them was waited for, and with it those that it had waited for itself."""
        self._reaped_cpu_s += usage.ru_utime + usage.ru_stime
        self._reaped_peak_bytes = max(self._reaped_peak_bytes, usage.ru_maxrss * 1024)

    def was_hit_by_oom(self) -> bool:
        """Whether the kernel has killed one of them for memory since the start."""
        return self._oom_kills() > self._oom_kills_before

    def cpu_s(self) -> float:
        """CPU time of all, the runner's own included; without a control group, of those that were waited for."""
        used = None if self._cgroup is None else proc.cpu_seconds(self._cgroup)
        return self._reaped_cpu_s if used is None else used

    def peak_memory_bytes(self) -> int:
        """The most they held together; without a memory controller, the most one of them held."""
        peak = None if self._cgroup is None else proc.memory_peak(self._cgroup)
        return self._reaped_peak_bytes if peak is None else peak

    def _oom_kills(self) -> int:
        return (proc.oom_kills(self._cgroup) or 0) if self._cgroup is not None else 0
