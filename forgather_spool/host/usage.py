"""What a running job uses now: from its control group, or from the processes below its runner.

Without a control group memory is the sum of what the processes hold, so pages
they share are counted for each, and the peak is that of the largest process,
or what they hold together now where that is more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from forgather_spool.host import proc

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """At one moment; `cpu_s` since the start, of those that have ended too. None: this host does not count it."""

    cpu_s: float | None
    memory_bytes: int | None
    peak_memory_bytes: int | None
    processes: int


def usage_of(scope: str, runner_pid: int, runner_start_ticks: int) -> Usage | None:
    """The runner's own small part is in it. None: the runner is gone."""
    if not proc.is_alive(runner_pid, runner_start_ticks):
        return None
    cgroup = proc.cgroup_of(runner_pid)
    if cgroup is not None and os.path.basename(cgroup) == scope:
        return _of_cgroup(cgroup)
    return _of_family([runner_pid, *proc.descendants(runner_pid)])


def cpu_percent(before: Usage, now: Usage, elapsed_s: float) -> float | None:
    """Of one CPU, between two looks: 250 is two and a half. None where it is not known."""
    if before.cpu_s is None or now.cpu_s is None or elapsed_s <= 0:
        return None
    return max(0.0, 100 * (now.cpu_s - before.cpu_s) / elapsed_s)


def _of_cgroup(cgroup: str) -> Usage:
    return Usage(
        cpu_s=proc.cpu_seconds(cgroup),
        memory_bytes=proc.memory_now(cgroup),
        peak_memory_bytes=proc.memory_peak(cgroup),
        processes=len(proc.cgroup_pids(cgroup)),
    )


def _of_family(pids: list[int]) -> Usage:
    """Children that were waited for count with who waited: nothing is lost when a process ends."""
    cpu_ticks, pages, peak_bytes, alive = 0, 0, 0, 0
    for pid in pids:
        times = proc.times_and_pages(pid)
        if times is None:
            continue
        alive += 1
        cpu_ticks += times[0]
        pages += times[1]
        peak_bytes = max(peak_bytes, proc.peak_resident_bytes(pid) or 0)
    return Usage(
        cpu_s=cpu_ticks / _TICKS_PER_S,
        memory_bytes=pages * _PAGE_BYTES,
        peak_memory_bytes=max(peak_bytes, pages * _PAGE_BYTES),
        processes=alive,
    )
