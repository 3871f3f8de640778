"""What `forgather job` shows of a job that is run again: each attempt, and the current one by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from forgather_spool.cli.job.command import job
from forgather_spool.cli.sched.command import sched
from forgather_spool.errors import UsageError
from forgather_spool.spool.queue import Spool
from tests import builders

TAIL = "from forgather_spool.cli.job import command; command.nudge = lambda spool: None; command.job()"


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")
    monkeypatch.setattr("forgather_spool.cli.job.command.nudge", lambda spool: None)
    return Spool().create()


def run(*words: str) -> Result:
    return CliRunner().invoke(job, list(words))


def test_status_tells_of_every_attempt_and_its_log(spool: Spool) -> None:
    entry = builders.waiting_again(spool, output=b"first\n")
    builders.running(spool, entry, output=b"second\n")

    lines = dict(line.split(":", 1) for line in run("status", entry[1]).stdout.splitlines())
    told = json.loads(run("status", "--json", entry[1]).stdout)

    assert lines["attempt"].strip() == "2, retry 1 after: exited 7"
    assert lines["log"].strip() == told["output_path"] == spool.paths.output(entry[1], 2)
    assert "exited 7" in lines["attempt 1"] and spool.paths.output(entry[1], 1) in lines["attempt 1"]
    assert [(one["attempt"], one["outcome"]) for one in told["attempts"]] == [
        (1, {"kind": "exited", "exit_code": 7}),
        (2, None),
    ]


def test_a_job_that_ran_once_has_no_word_of_attempts(spool: Spool) -> None:
    assert "attempt" not in run("status", builders.ended(spool)[1]).stdout


def test_the_output_is_that_of_the_latest_attempt_unless_one_is_named(spool: Spool) -> None:
    entry = builders.waiting_again(spool, output=b"first\n")
    assert run("dump", entry[1]).stdout == "first\n"  # the second has written nothing yet

    builders.running(spool, entry, output=b"second\n")

    assert run("dump", entry[1]).stdout == run("tail", "--no-follow", entry[1]).stdout == "second\n"
    assert run("dump", "--attempt", "1", entry[1]).stdout == "first\n"
    assert run("tail", "--attempt", "1", entry[1]).stdout == "first\n"


def test_an_attempt_that_never_was_is_said(spool: Spool) -> None:
    entry = builders.ended(spool)

    failed = run("dump", "--attempt", "2", entry[1])

    assert isinstance(failed.exception, UsageError) and "attempt 1" in failed.exception.hint


def test_raw_shows_the_files_of_every_attempt(spool: Spool) -> None:
    entry = builders.waiting_again(spool)
    builders.running(spool, entry)

    raw = run("show", "--raw", entry[1]).stdout

    for path in (spool.paths.result(entry[1], 1), spool.paths.again(entry[1], 2), spool.paths.started(entry[1], 2)):
        assert f"# {path}" in raw


def test_tail_goes_on_with_the_next_attempt(spool: Spool) -> None:
    """It ends with the job, not with an attempt, and exits as the last one did."""
    entry = builders.running(spool, output=b"one\n")
    tail = subprocess.Popen(
        [sys.executable, "-c", TAIL, "tail", entry[1]], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert tail.stdout is not None and tail.stdout.readline() == b"one\n"

    builders.write(spool, entry, b"two\n")
    builders.run_again(spool, entry)
    builders.running(spool, entry, output=b"three\n")
    assert [tail.stdout.readline() for _ in range(2)] == [b"two\n", b"three\n"]
    builders.end(spool, entry, {"kind": "exited", "exit_code": 3})

    rest, said = tail.communicate(timeout=20)
    assert (rest, tail.returncode) == (b"", 3)
    assert b"attempt 2" in said


def test_the_list_says_that_a_job_waits_to_run_again_and_until_when(spool: Spool) -> None:
    builders.waiting_again(spool, not_before_at="2099-01-01T00:00:00Z")

    listed = CliRunner().invoke(sched, ["list"], env={"COLUMNS": "200"}).stdout

    assert "attempt 2, retry 1 after: exited 7: is run again, not before" in " ".join(listed.split())
