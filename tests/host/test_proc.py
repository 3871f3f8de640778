"""What `host/proc.py` reads, checked against processes of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgather_spool.host import proc
from tests.waiting import wait_until

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command whose stdin stays open; all are killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=env, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_process_is_its_pid_and_its_start(start: Start) -> None:
    """The same pid with another start time is somebody else; a zombie is nobody."""
    child = start("cat")
    ticks = proc.start_ticks(child.pid)
    assert ticks is not None
    assert proc.is_alive(child.pid, ticks)
    assert not proc.is_alive(child.pid, ticks + 1)

    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert proc.start_ticks(child.pid) == ticks, "a zombie keeps its place"
    assert not proc.is_alive(child.pid, ticks)


def test_a_name_with_blanks_and_parentheses_does_not_confuse(start: Start, tmp_path: Path) -> None:
    odd = tmp_path / "a) Z (b 1 2"
    odd.symlink_to("/bin/cat")
    child = start(odd)
    wait_until(lambda: ") Z (" in Path(f"/proc/{child.pid}/comm").read_text())

    assert proc.is_alive(child.pid, proc.start_ticks(child.pid) or 0)
    assert child.pid in proc.children_of(os.getpid())


def test_descendants_are_the_whole_family_without_its_zombies(start: Start) -> None:
    """A grandchild counts; a child that has ended and is not yet collected does not."""
    parent, zombie = start("sh", "-c", "sh -c 'sleep 999 & echo $!; wait' & echo $!; exec sleep 999"), start("cat")
    assert parent.stdout is not None
    below = {int(parent.stdout.readline()), int(parent.stdout.readline())}
    os.kill(zombie.pid, signal.SIGKILL)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)

    assert set(proc.descendants(parent.pid)) == below
    assert {parent.pid, *below} <= set(proc.descendants(os.getpid()))
    assert zombie.pid in proc.children_of(os.getpid())
    assert zombie.pid not in proc.descendants(os.getpid())


def test_nobody_has_the_pid_of_nobody() -> None:
    with Path("/proc/sys/kernel/pid_max").open() as file:
        nobody = int(file.read())

    assert proc.start_ticks(nobody) is None
    assert not proc.is_alive(nobody, 1)
    assert proc.descendants(nobody) == []
    assert proc.cgroup_of(nobody) is None


def test_an_orphan_is_found_by_what_it_was_started_with(start: Start) -> None:
    mine = start("cat", env={"PATH": os.environ["PATH"], "FORGATHER_SCOPE": "this one"})
    start("cat", env={"PATH": os.environ["PATH"], "FORGATHER_SCOPE": "this one too"})
    start("cat", env={"PATH": os.environ["PATH"], "NOT_FORGATHER_SCOPE": "this one"})

    assert wait_until(lambda: proc.pids_with_env("FORGATHER_SCOPE", "this one")) == [mine.pid]


def test_the_hosts_name_is_short_and_plain_and_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_HOST", "Gpu_Box.Örtlich/../x")

    assert proc.host_name() == "gpu-box--rtlich----x"

    monkeypatch.setenv("FORGATHER_HOST", "...")
    assert proc.host_name() == "localhost"

    monkeypatch.delenv("FORGATHER_HOST")
    assert "." not in proc.host_name()


def test_a_boot_has_one_id() -> None:
    assert proc.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_group_lists_its_members_and_those_below(tmp_path: Path) -> None:
    """A plain folder serves: these are files to us."""
    (tmp_path / "a/b").mkdir(parents=True)
    for group, pids in ((".", "1\n2\n"), ("a", ""), ("a/b", "3\n")):
        (tmp_path / group / "cgroup.procs").write_text(pids)
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")

    assert proc.cgroup_pids(str(tmp_path)) == [1, 2, 3]
    assert proc.is_populated(str(tmp_path))
    assert proc.cgroup_pids(str(tmp_path / "gone")) == []
    assert not proc.is_populated(str(tmp_path / "gone"))


def test_what_a_group_does_not_count_is_none(tmp_path: Path) -> None:
    group = str(tmp_path)
    assert (proc.oom_kills(group), proc.memory_peak(group), proc.cpu_seconds(group)) == (None, None, None)

    (tmp_path / "memory.events").write_text("oom 2\noom_kill 1\noom_group_kill 0\n")
    (tmp_path / "memory.peak").write_text("4096\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")

    assert (proc.oom_kills(group), proc.memory_peak(group), proc.cpu_seconds(group)) == (1, 4096, 1.5)


def test_the_runner_does_not_pay_for_what_it_does_not_use() -> None:
    """Importing what the runner imports brings in none of the slow modules, wherever the tests run and with whatever
    PYTHON* variables: an interpreter may import some of them for itself."""
    root = Path(proc.__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import forgather_spool.host.proc, forgather_spool.host.journal"
    )
    command = [sys.executable, "-E", "-s", "-S", "-c", f"{code}; print(*sys.modules)"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout

    slow = {"dataclasses", "re", "typing", "pathlib", "subprocess", "socket", "enum", "signal", "json"}
    assert not slow & set(out.split())
