"""What a job uses: read from a control group's files, or from the processes below a runner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forgather_spool.host import proc, usage
from forgather_spool.host.usage import Usage, cpu_percent, usage_of
from tests.waiting import wait_until

MIB = 1 << 20
BURN = "x = bytearray({} << 20); print('on', flush=True)\nimport time\nwhile time.process_time() < 0.3: pass\ninput()"


def used(cpu_s: float | None) -> Usage:
    return Usage(cpu_s=cpu_s, memory_bytes=None, peak_memory_bytes=None, processes=1)


def test_a_family_is_the_runner_and_all_below_it() -> None:
    """Memory is what the largest held at its peak; time of a child that has ended counts with its parent."""
    script = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
child = subprocess.Popen([sys.executable, "-c", {BURN.format(64)!r}], stdin=subprocess.PIPE)
print("go", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        ticks = proc.start_ticks(parent.pid)
        assert ticks is not None

        def enough() -> Usage | None:
            now = usage_of("no-such.scope", parent.pid, ticks)
            return now if now and now.cpu_s and now.cpu_s >= 0.5 and (now.peak_memory_bytes or 0) > 64 * MIB else None

        found = wait_until(enough, what="both children's time and the memory")

        assert found.processes == 2
        assert 64 * MIB < (found.memory_bytes or 0) < 1024 * MIB
        parent.kill()
    assert usage_of("no-such.scope", parent.pid, ticks) is None


def test_a_control_group_speaks_for_all_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "forgather-job-x-1.scope"
    group.mkdir()
    for name, text in {
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.current": "1048576\n",
        "memory.peak": "2097152\n",
        "cgroup.procs": "1\n2\n3\n",
    }.items():
        (group / name).write_text(text)
    monkeypatch.setattr(usage.proc, "cgroup_of", lambda _: str(group))
    me, ticks = os.getpid(), proc.start_ticks(os.getpid())
    assert ticks is not None

    assert usage_of(group.name, me, ticks) == Usage(cpu_s=2.5, memory_bytes=MIB, peak_memory_bytes=2 * MIB, processes=3)
    (group / "memory.current").unlink()
    (group / "memory.peak").unlink()
    without_controller = usage_of(group.name, me, ticks)
    assert without_controller is not None and without_controller.memory_bytes is None


def test_a_share_of_cpu_is_the_difference_of_two_looks() -> None:
    assert cpu_percent(used(1.0), used(6.0), 2.0) == 250
    assert cpu_percent(used(1.0), used(0.5), 2.0) == 0
    assert cpu_percent(used(None), used(6.0), 2.0) is None
    assert cpu_percent(used(1.0), used(6.0), 0.0) is None
