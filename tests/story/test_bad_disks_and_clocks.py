"""A disk that is full or read-only, and a clock that was set back: work waits, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.host import proc
from forgather_spool.outcome import Exited
from forgather_spool.spool import files
from tests.story.world import World
from tests.waiting import wait_until

FORGATHER = [sys.executable, str(Path(__file__).resolve().parents[2] / "bin" / "forgather")]
AN_HOUR_AGO = "import time\nnow, now_ns = time.time, time.time_ns\ntime.time = lambda: now() - 3600\n"
AN_HOUR_AGO += "time.time_ns = lambda: now_ns() - 3600 * 10**9\n"
AN_HOUR_AGO += """
import datetime
class Earlier(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Earlier
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The home of `world`, on a file system of its own with little room."""
    home = tmp_path / "home"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=100,mode=0700", "small", str(home)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)


@pytest.fixture
def world(small_disk: Path, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.end()


def no_room(disk: Path) -> None:
    with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass


def no_inodes(disk: Path) -> None:
    with pytest.raises(OSError):
        for n in range(1000):
            (disk / f"filler-{n}").touch()


FULL = pytest.mark.parametrize("fill", [no_room, no_inodes])


def empty(disk: Path) -> None:
    for filler in disk.glob("filler*"):
        filler.unlink()


def forgather(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    env = world.env | {"FORGATHER_NO_WAKE": "1"}
    return subprocess.run([*FORGATHER, *words], env=env, capture_output=True, text=True, check=False)


@FULL
def test_a_submit_to_a_full_disk_is_refused_in_one_line_and_leaves_nothing(
    world: World, small_disk: Path, fill
) -> None:
    fill(small_disk)

    done = forgather(world, "submit", "--", "true")

    assert (done.returncode, done.stdout) == (75, "")
    error, fix = done.stderr.splitlines()
    assert error.startswith("error: ") and error.endswith("No space left on device")
    assert "df" in fix
    assert (world.spool.waiting(), world.leftovers()) == ([], [])
    empty(small_disk)
    assert forgather(world, "submit", "--", "true").returncode == 0


@FULL
def test_a_job_runs_on_while_the_disk_is_full_and_its_result_comes_once_there_is_room(
    world: World, small_disk: Path, fill
) -> None:
    entry = world.submit("echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; exit 5")
    world.dispatch()
    command_pid = int(world.wait_for("pid"))
    fill(small_disk)

    (world.folder / "go").touch()
    wait_until(lambda: proc.start_ticks(command_pid) is None)
    assert not world.spool.has_result(entry[1])
    empty(small_disk)

    assert world.wait_done(entry).outcome == Exited(5)
    assert world.leftovers() == []


@FULL
def test_a_dispatcher_on_a_full_disk_waits_and_starts_what_waited(world: World, small_disk: Path, fill) -> None:
    world.dispatch_all()  # a host's first dispatcher makes its lock, which needs room
    entries = [world.submit(f"echo {n} >> ran") for n in range(3)]
    fill(small_disk)
    world.dispatch()
    wait_until(lambda: "No space left" in world.said())

    empty(small_disk)

    assert [world.wait_done(entry).outcome for entry in entries] == [Exited(0)] * 3
    assert sorted(world.lines("ran")) == ["0", "1", "2"]


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_looking_needs_no_room(world: World, small_disk: Path, trouble: str) -> None:
    waiting = world.submit("true")
    if trouble == "full":
        no_room(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    for words in (["sched", "list"], ["job", "status", waiting[1]], ["sched", "status"], ["gpu", "status"]):
        done = forgather(world, *words)
        assert done.returncode == 0, (words, done.stderr)
    assert waiting[1] in forgather(world, "sched", "list").stdout


def test_changing_anything_on_a_read_only_disk_is_refused_in_one_line(world: World, small_disk: Path) -> None:
    waiting = world.submit("true")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    for words in (
        ["submit", "true"],
        ["sched", "cancel", waiting[1]],
        ["sched", "pause"],
        ["sched", "cleanup"],
    ):
        done = forgather(world, *words)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode in (0, 75) and len(errors) == (done.returncode != 0), (words, done)
        assert "Traceback" not in done.stderr
    assert world.spool.waiting() == [waiting]


def test_a_clock_set_back_by_an_hour_loses_no_job_and_runs_none_twice(world: World, tmp_path: Path) -> None:
    """Jobs of every state, made before; times and ids of then lie in the future now."""
    running = world.submit("echo running >> ran; while [ ! -e go ]; do sleep 0.05; done")
    first = world.dispatch()
    wait_until(lambda: world.lines("ran"))
    first.kill()
    first.wait()
    waiting = world.submit("echo waiting >> ran")
    Path(world.spool.paths.incoming, "mine.json").write_text('{"argv": ["true"]}')
    Path(world.spool.paths.incoming, "bad.json").write_text('{"argv": "no list"}')
    Path(world.spool.paths.tmp, f"{os.uname().nodename.partition('.')[0]}.4194304.abc").write_text("{")

    second = world.dispatch(PYTHONPATH=an_hour_ago(world, tmp_path))
    assert world.wait_done(waiting).outcome == Exited(0)
    (world.folder / "go").touch()

    assert world.wait_done(running).outcome == Exited(0)
    assert second.wait(timeout=30) == 0
    assert sorted(world.lines("ran")) == ["running", "waiting"]
    assert world.leftovers() == []
    assert len(files.names(world.spool.paths.incoming)) == 0
    assert Path(world.spool.paths.rejected, "bad.json").exists()


def test_a_pause_before_a_retry_is_no_longer_for_a_clock_that_was_set_back(world: World, tmp_path: Path) -> None:
    """The attempt ended in an hour from now, as this clock has it; a second after it is not then."""
    job = world.submit("echo run >> ran; test -e go", retries=1, retry_delay_s=2)
    first = world.dispatch()
    wait_until(lambda: world.spool.attempt(job[1]) == 2, what="the pause")
    first.kill()
    first.wait()
    (world.folder / "go").touch()

    second = world.dispatch(PYTHONPATH=an_hour_ago(world, tmp_path))

    assert world.wait_done(job).outcome == Exited(0)
    assert second.wait(timeout=30) == 0
    assert world.lines("ran") == ["run", "run"]


def an_hour_ago(world: World, tmp_path: Path) -> str:
    """The PYTHONPATH of a dispatcher, and of what it starts, whose clock was set back by an hour."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(AN_HOUR_AGO)
    return f"{tmp_path / 'clock'}:{world.env['PYTHONPATH']}"
