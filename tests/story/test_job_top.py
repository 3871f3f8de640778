"""`job top`: what running jobs use, at a terminal and for a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from forgather_spool.cli.job.top import size
from forgather_spool.spool import files
from forgather_spool.spool.names import short_id
from tests.fakes.nvml import FakeCards
from tests.story.world import World
from tests.waiting import wait_until

FORGATHER = [sys.executable, str(Path(__file__).resolve().parents[2] / "bin" / "forgather")]


def top(world: World, *words: str, **env: str) -> str:
    command = [*FORGATHER, "job", "top", *words]
    done = subprocess.run(command, env={**world.env, "FORGATHER_NO_WAKE": "1", **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_runs_on_an_empty_queue(world: World) -> None:
    assert top(world, "--once") == "nothing runs\n"
    assert json.loads(top(world, "--once", "--json"))["jobs"] == []


def test_a_running_job_shows_what_it_uses(world: World, cards: FakeCards) -> None:
    cards.add(utilization_percent=87)
    line = f"{sys.executable} -c 'x = bytearray(50 << 20); print(1, flush=True); input()' > up"
    os.mkfifo(world.folder / "pipe")
    entry = world.submit(f"{line} 0<>pipe", name="hold", gpus=1)
    world.dispatch(**cards.env())
    world.wait_for("up")
    process = world.spool.paths.process(entry[1], 1)
    wait_until(lambda: files.exists(process))
    command = files.read_document(process)["pid"]
    cards.process(0, int(str(command)), 3 << 30)
    cards.process(0, os.getpid(), 5 << 30)  # somebody else's

    [job] = json.loads(top(world, "--once", "--json", **cards.env()))["jobs"]
    table = top(world, "--once", **cards.env())

    assert (job["job_id"], job["name"], job["state"]) == (entry[1], "hold", "running")
    assert job["memory_bytes"] > 50 << 20 and job["processes"] >= 2 and job["cpu_percent"] >= 0
    assert job["cards"] == [
        {"index": 0, "uuid": cards.uuid(0), "utilization_percent": 87, "memory_used_bytes": 3 << 30}
    ]
    assert "87" in table and "hold" in table and "3.0G" in table


def test_at_80_columns_a_job_is_one_line(world: World, cards: FakeCards) -> None:
    cards.add()
    entry = world.submit("echo on > up; sleep 1000", name="a name that is longer than it should be", gpus=1)
    world.dispatch(**cards.env())
    world.wait_for("up")

    heading, *rows = top(world, "--once", COLUMNS="80", **cards.env()).splitlines()

    assert len(rows) == 1 and len(rows[0]) <= 80
    assert rows[0].startswith(short_id(entry[1])) and "CPU%" in heading and "Host" not in heading


def test_without_once_a_script_reads_a_line_each_time(world: World) -> None:
    world.submit("echo on > up; sleep 1000")
    world.dispatch()
    world.wait_for("up")
    command = [*FORGATHER, "job", "top", "--json", "--every", "0.1s"]
    with subprocess.Popen(command, env=world.env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown = [json.loads(process.stdout.readline())["jobs"][0]["state"] for _ in range(2)]
        process.kill()

    assert shown == ["running", "running"]


def test_sizes_are_short() -> None:
    assert [size(None), size(0), size(300 << 20), size(5 << 29)] == ["-", "0M", "300M", "2.5G"]
