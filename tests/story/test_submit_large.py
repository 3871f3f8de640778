"""`forgather submit --batch` of so many lines that a second process writes the files: as with a few."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.spool import batch
from tests.story.test_submit import FORGATHER, Run, forgather, home, queued
from tests.waiting import wait_until

__all__ = ["forgather", "home"]  # the fixtures

ENOUGH = batch.ALONE + 100


def lines(count: int) -> str:
    return "".join(json.dumps({"argv": ["echo", str(i)]}) + "\n" for i in range(count))


def left_over(home: Path) -> list[str]:
    return [name for folder in ("tmp", "batches") for name in os.listdir(home / "spool" / folder)]


def is_there(pid: int) -> bool:
    """Zombies are: nobody has asked how they ended."""
    return os.path.exists(f"/proc/{pid}")


@pytest.fixture
def submitter(home: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """In the midst of a batch on its stdin, leader of a group of its own."""
    program = subprocess.Popen(
        [sys.executable, FORGATHER, "submit", "--batch", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={"PATH": "/usr/bin:/bin", "FORGATHER_HOME": str(home), "FORGATHER_NO_WAKE": "1"},
    )  # fmt: skip
    assert program.stdin is not None
    program.stdin.write(lines(ENOUGH))
    program.stdin.flush()
    yield program
    program.kill()
    program.communicate()


def its_second(program: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
    return int(wait_until(children.read_text, what="a second process"))


def test_every_line_is_a_job_in_the_order_of_the_lines(forgather: Run, home: Path):
    answer = forgather("submit", "--batch", "-", stdin=lines(ENOUGH))

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"queued: {ENOUGH:,} jobs (q_")
    assert [spec["argv"] for spec in queued(home)] == [["echo", str(i)] for i in range(ENOUGH)]
    assert left_over(home) == []


def test_a_bad_line_far_down_refuses_all_and_is_named(forgather: Run, home: Path):
    answer = forgather("submit", "--batch", "-", stdin=lines(ENOUGH) + "{}\n" + lines(10))

    assert (answer.returncode, answer.stdout) == (65, "")
    assert answer.stderr.startswith(f"error: line {ENOUGH + 1} of stdin: ")
    assert queued(home) == left_over(home) == []


def test_what_the_disk_refuses_is_one_line_and_no_job(forgather: Run, home: Path):
    limit = 65_536
    text = lines(ENOUGH) + json.dumps({"argv": ["x" * limit]}) + "\n"

    answer = forgather(
        "submit", "--batch", "-", stdin=text,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip

    assert (answer.returncode, answer.stdout) == (75, "")
    [line, fix] = answer.stderr.splitlines()
    assert line.startswith("error: cannot write to ") and line.endswith(": File too large")
    assert fix.startswith("  fix: ")
    assert queued(home) == left_over(home) == []


def test_a_submitter_that_is_killed_takes_its_second_along(submitter: subprocess.Popen[str], home: Path):
    second = its_second(submitter)

    submitter.kill()
    submitter.wait()

    wait_until(lambda: not is_there(second), what="the end of the second process")
    assert queued(home) == os.listdir(home / "spool" / "batches") == []


def test_a_ctrl_c_ends_both_without_a_word(submitter: subprocess.Popen[str], home: Path):
    second = its_second(submitter)

    os.killpg(submitter.pid, signal.SIGINT)

    assert submitter.communicate() == ("", "")
    assert submitter.returncode == 130
    assert not is_there(second)
    assert queued(home) == left_over(home) == []


def test_when_the_second_is_killed_that_is_said_and_no_job_is_submitted(submitter: subprocess.Popen[str], home: Path):
    os.kill(its_second(submitter), signal.SIGKILL)

    out, errors = submitter.communicate()

    assert (submitter.returncode, out) == (75, "")
    [line, fix] = errors.splitlines()
    assert line.startswith("error: cannot write to ")
    assert line.endswith("the process that does was killed by signal 9")
    assert fix == "  fix: try again"
    assert queued(home) == left_over(home) == []
