"""`forgather job`: looking at one job, following it to its end, stopping it and running it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forgather_spool.cli.job.command import job
from forgather_spool.errors import Busy, Missing, NoSuchJob, StorageFailed, UnreadableFile, UsageError, WaitedLongEnough
from forgather_spool.host import proc
from forgather_spool.job import State
from forgather_spool.outcome import Cancelled
from forgather_spool.runner.output import OutputLog
from forgather_spool.spool.look import look
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject
from tests import builders
from tests.waiting import wait_until

PROGRAM = """
from forgather_spool.cli.job import command, stopping
command.nudge = stopping.nudge = lambda spool: None
command.job()
"""


@pytest.fixture(autouse=True)
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Homes whose dispatcher was woken; none is."""
    homes: list[str] = []
    for module in ("job.command", "job.stopping"):
        monkeypatch.setattr(f"forgather_spool.cli.{module}.nudge", lambda spool: homes.append(spool.paths.home))
    return homes


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")
    return Spool().create()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``start("tail", job_id)`` is the command as a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def go(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PROGRAM, *words]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.communicate()


def run(*words: str) -> Result:
    return CliRunner().invoke(job, list(words))


def printed(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def failure(*words: str) -> BaseException:
    result = run(*words)
    assert result.exception is not None, result.output
    return result.exception


EXITED_3 = {"kind": "exited", "exit_code": 3}


# -- status and show ----------------------------------------------------------------------------------------------


def test_status_tells_everything_of_an_ended_job(spool: Spool) -> None:
    entry = builders.running(
        spool, name="run", argv=["python", "train.py"], cwd="/data", gpus=1, cards=(3,), output=b"x"
    )
    how = {"cpu_s": 1.5, "peak_memory_bytes": 2048, "output_bytes": 1}
    spool.write_result(entry[1], builders.a_result({"kind": "killed", "signal": 9}, **how))
    spool.finish(entry, builders.HOST, builders.a_result()["ended_at"])

    lines = dict(line.split(":", 1) for line in printed("status", "run").splitlines())
    told = json.loads(printed("status", "run", "--json"))

    assert lines["command"].strip() == "python train.py"
    assert lines["outcome"].strip() == "killed by SIGKILL"
    assert lines["gpus"].strip() == "3 (GPU-3)"
    assert lines["peak memory"].strip() == "2 KiB"
    assert lines["log"].strip() == told["output_path"] == spool.paths.output(entry[1], 1)
    assert told["outcome"] == {"kind": "killed", "signal": 9} and told["exit_status"] == 137
    assert told["cards"] == [{"index": 3, "uuid": "GPU-3"}]


def test_status_of_a_waiting_job_says_why_it_waits(spool: Spool) -> None:
    entry = builders.submitted(spool)

    assert "starts at the next pass" in printed("status", entry[1])


def test_status_of_a_job_that_an_earlier_boot_ran_says_that_it_does_not_run(spool: Spool) -> None:
    job_id = builders.running(spool, host=proc.host_name())[1]

    lines = printed("status", job_id).splitlines()

    assert "state:       ending" in lines
    assert "note:        this machine was restarted while it ran" in lines


def test_status_of_a_job_with_a_damaged_file_names_it(spool: Spool) -> None:
    entry = builders.ended(spool)
    builders.damage(spool.paths.started(entry[1], 1))

    assert spool.paths.started(entry[1], 1) in printed("status", entry[1])


def test_a_dispatcher_looks_when_a_job_says_it_runs(spool: Spool, nudged: list[str]) -> None:
    """Its runner may be gone, with nobody awake to notice."""
    entry = builders.running(spool)

    printed("status", entry[1])

    assert nudged == [spool.paths.home]


def test_no_text_of_a_job_acts_on_the_terminal(spool: Spool) -> None:
    entry = builders.submitted(spool, name="\x1b]0;owned\x07", argv=["echo", "\u202egnp", "\x9b31m"], cwd="/\x1b[2J")

    shown = printed("status", entry[1]) + printed("show", entry[1])

    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(shown)


def test_show_hides_what_looks_like_a_secret_and_raw_does_not(spool: Spool) -> None:
    entry = builders.submitted(spool, env={"WANDB_API_KEY": "hunter2", "LANG": "C"}, priority=4)

    shown = json.loads(printed("show", entry[1]))

    assert shown["env"] == {"WANDB_API_KEY": "***", "LANG": "C"}
    assert shown["priority"] == 4
    assert "hunter2" in printed("show", "--raw", entry[1])
    assert json.loads(printed("show", "--json", entry[1])) == shown
    assert isinstance(failure("show", "--json", "--raw", entry[1]), UsageError)


def test_raw_shows_a_damaged_file_as_it_is(spool: Spool) -> None:
    entry = builders.submitted(spool)
    builders.damage(spool.paths.queued(entry[1], 0), b"{not json")

    assert isinstance(failure("show", entry[1]), UnreadableFile)
    assert "{not json" in printed("show", "--raw", entry[1])


@pytest.mark.parametrize("command", ["status", "show", "tail", "dump", "wait", "kill", "rerun"])
def test_no_such_job_is_a_usage_error(spool: Spool, command: str) -> None:
    error = failure(command, "nonsense")

    assert isinstance(error, NoSuchJob) and error.exit_code == 2


# -- tail and dump ------------------------------------------------------------------------------------------------


def test_tail_of_an_ended_job_prints_its_last_lines_and_exits_as_it_did(spool: Spool) -> None:
    output = b"".join(b"line %d\n" % i for i in range(30))
    entry = builders.ended(spool, output=output, outcome={"kind": "exited", "exit_code": 3})

    result = run("tail", entry[1])

    assert result.exit_code == 3
    assert result.stdout.splitlines() == [f"line {i}" for i in range(20, 30)]
    assert result.stderr.startswith(f"{entry[1]}: exited 3 after ")
    assert run("tail", "--lines", "1", entry[1]).stdout == "line 29\n"
    assert run("tail", "--from-start", entry[1]).stdout == output.decode()


def test_tail_streams_until_the_job_ends(spool: Spool, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    entry = builders.running(spool, output=b"first\n")
    tail = start("tail", entry[1])
    assert tail.stdout is not None and tail.stderr is not None
    assert tail.stdout.readline() == b"first\n"

    builders.write(spool, entry, b" 10%\r 20%")
    builders.write(spool, entry, b"\r100%\n")
    assert tail.stdout.readline() == b"100%\n"
    builders.write(spool, entry, b"no line end")
    builders.end(spool, entry, {"kind": "exited", "exit_code": 4})

    assert tail.stdout.read() == b"no line end"
    assert tail.wait(timeout=30) == 4
    assert b"exited 4" in tail.stderr.read()


def test_tail_of_a_waiting_job_says_why_and_shows_it_from_its_start(
    spool: Spool, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    entry = builders.submitted(spool)
    tail = start("tail", "--lines", "1", entry[1])
    assert tail.stdout is not None and tail.stderr is not None
    assert tail.stderr.readline() == b"waiting: starts at the next pass\n"

    builders.running(spool, entry, output=b"one\ntwo\n")
    assert tail.stdout.readline() == b"one\n"
    builders.end(spool, entry)

    assert tail.stdout.read() == b"two\n"
    assert tail.wait(timeout=30) == 0


def test_ctrl_c_ends_the_tail_and_not_the_job(spool: Spool, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    entry = builders.running(spool, output=b"first\n")
    tail = start("tail", entry[1])
    assert tail.stdout is not None
    tail.stdout.readline()

    tail.send_signal(signal.SIGINT)

    _, errors = tail.communicate(timeout=30)
    assert tail.returncode == 130
    assert b"goes on" in errors
    assert look(spool, entry[1]).state is State.RUNNING
    assert not os.path.exists(spool.paths.stop_request(entry[1], 1, force=False))


def test_a_reader_that_leaves_ends_the_tail_without_a_word(
    spool: Spool, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    entry = builders.running(spool, output=b"first\n")
    tail = start("tail", entry[1])
    assert tail.stdout is not None and tail.stderr is not None
    tail.stdout.readline()

    tail.stdout.close()  # of a job that says nothing more

    assert tail.wait(timeout=30) == 141
    assert tail.stderr.read() == b""


def test_without_following_tail_prints_what_is_there(spool: Spool) -> None:
    entry = builders.running(spool, output=b"so far")

    assert printed("tail", "--no-follow", entry[1]) == "so far"


def test_a_tail_goes_on_across_the_parts_of_a_limited_output(
    spool: Spool, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Who keeps up is given every byte, though parts behind it are removed."""
    entry = builders.running(spool)
    log = OutputLog(spool.paths.output(entry[1], 1), 4096)
    tail = start("tail", "--from-start", entry[1])
    assert tail.stdout is not None

    for first in range(0, 3000, 100):
        lines = [b"%07d\n" % n for n in range(first, first + 100)]
        log.write(b"".join(lines))
        assert [tail.stdout.readline() for _ in lines] == lines
    builders.end(spool, entry)

    assert tail.stdout.read() == b""


def test_dump_of_a_limited_output_is_head_marker_and_tail(spool: Spool) -> None:
    entry = builders.running(spool)
    log = OutputLog(spool.paths.output(entry[1], 1), 4096)
    log.write(b"".join(b"%07d\n" % n for n in range(3000)))

    head, _, rest = run("dump", entry[1]).stdout_bytes.partition(b"[forgather: ")

    assert head.splitlines()[0] == b"0000000" and len(head) == 2048
    assert rest.startswith(f"{log.bytes_omitted:,} bytes left out here".encode())
    assert rest.endswith(b"0002999\n")


def test_dump_gives_every_byte(spool: Spool) -> None:
    every = bytes(range(256)) * 1000
    entry = builders.running(spool, output=every)

    assert run("dump", entry[1]).stdout_bytes == every
    assert run("dump", builders.submitted(spool)[1]).stdout_bytes == b""


# -- wait ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ({"kind": "exited", "exit_code": 0}, 0),
        ({"kind": "exited", "exit_code": 7}, 7),
        ({"kind": "killed", "signal": 15}, 143),
        ({"kind": "timed_out", "limit_s": 5}, 124),
        ({"kind": "out_of_memory"}, 137),
        ({"kind": "lost", "reason": "power cut"}, 1),
    ],
)
def test_wait_exits_as_the_job_did(spool: Spool, outcome: dict[str, Any], status: int) -> None:
    assert run("wait", builders.ended(spool, outcome=outcome)[1]).exit_code == status


def test_a_time_limit_is_said_once(spool: Spool) -> None:
    ended = builders.ended(spool, outcome={"kind": "timed_out", "limit_s": 5})

    assert run("wait", ended[1]).stdout == f"{ended[1]}: timed out after 5 s\n"


def test_wait_for_several_exits_as_the_first_that_failed(spool: Spool) -> None:
    codes = (0, 5, 6)
    ids = [builders.ended(spool, outcome={"kind": "exited", "exit_code": code})[1] for code in codes]

    result = run("wait", *ids)

    assert result.exit_code == 5
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["0", "5", "6"]


def test_wait_returns_when_the_job_ends(spool: Spool) -> None:
    entry = builders.running(spool)
    ender = threading.Timer(0.05, builders.end, (spool, entry, {"kind": "exited", "exit_code": 2}))
    ender.start()

    assert run("wait", entry[1]).exit_code == 2
    ender.join()


def test_wait_for_any_exits_as_the_first_that_ended(spool: Spool) -> None:
    """The others go on; a script asks again with those that are left."""
    runs, waits, ended = builders.running(spool), builders.submitted(spool), builders.ended(spool, outcome=EXITED_3)

    result = run("wait", "--any", "--json", runs[1], waits[1], ended[1])

    told = json.loads(result.stdout)
    assert result.exit_code == 3
    assert [job["job_id"] for job in told["ended"]] == [ended[1]]
    assert (told["going_on"], told["timed_out"]) == ([runs[1], waits[1]], False)


def test_running_out_of_time_is_told_apart_from_a_job_that_did(spool: Spool) -> None:
    """Both are 124."""
    ended = builders.ended(spool, outcome={"kind": "timed_out", "limit_s": 5})
    runs = builders.running(spool)

    for jobs, timed_out in (((ended[1],), False), ((ended[1], runs[1]), True)):
        result = run("wait", "--json", "--timeout", "0.05s", *jobs)
        assert result.exit_code == 124
        assert json.loads(result.stdout)["timed_out"] is timed_out


def test_waiting_long_enough_is_124_and_touches_nothing(spool: Spool) -> None:
    entry = builders.running(spool)

    error = failure("wait", "--timeout", "0.05s", entry[1])

    assert isinstance(error, WaitedLongEnough) and error.exit_code == 124
    assert look(spool, entry[1]).state is State.RUNNING


def test_a_damaged_result_is_no_success(spool: Spool) -> None:
    entry = builders.ended(spool)
    builders.damage(spool.paths.result(entry[1], 1))

    error = failure("wait", entry[1])

    assert isinstance(error, UnreadableFile) and error.exit_code == 65


def test_a_rejected_job_is_no_success(spool: Spool) -> None:
    entry = builders.submitted(spool)
    reject(spool, spool.paths.queued(entry[1], 0), "$.argv: is required")

    assert "$.argv: is required" in str(failure("wait", entry[1]))


# -- kill ---------------------------------------------------------------------------------------------------------


def test_kill_of_a_waiting_job_cancels_it(spool: Spool) -> None:
    entry = builders.submitted(spool)

    assert "cancelled by" in printed("kill", entry[1])

    result = look(spool, entry[1]).result
    assert result is not None and isinstance(result.outcome, Cancelled)


def test_kill_asks_the_runner_and_waits_until_it_is_over(spool: Spool) -> None:
    entry = builders.running(spool)
    runner = threading.Thread(target=_obey, args=(spool, entry))
    runner.start()

    said = printed("kill", entry[1])

    runner.join()
    assert "TERM to 2 processes" in said
    assert said.splitlines()[-1].startswith(f"{entry[1]}: cancelled by me")


def _obey(spool: Spool, entry: tuple[int, str]) -> None:
    """A runner that sees the request, and writes what it did."""
    wait_until(lambda: os.path.exists(spool.paths.stop_request(entry[1], 1, force=False)))
    steps = [{"at": builders.a_result()["ended_at"], "did": "TERM to 2 processes"}]
    spool.write_result(entry[1], builders.a_result({"kind": "cancelled", "by": "me"}, steps=steps))
    spool.finish(entry, builders.HOST, builders.a_result()["ended_at"])


def test_kill_without_waiting_returns_at_once(spool: Spool) -> None:
    entry = builders.running(spool)

    assert "asked to stop" in printed("kill", "--no-wait", entry[1])
    assert look(spool, entry[1]).state is State.RUNNING


def test_force_kill_wants_a_yes(spool: Spool) -> None:
    entry = builders.running(spool)

    error = failure("force-kill", entry[1])

    assert isinstance(error, UsageError) and error.exit_code == 2
    assert not os.path.exists(spool.paths.stop_request(entry[1], 1, force=True))


def test_force_kill_reaches_the_job_of_a_runner_that_does_not_react(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runner is stopped or dead: everything in the scope gets KILL from here."""
    monkeypatch.setattr("forgather_spool.cli.job.stopping.RUNNER_REACTS_S", 0.0)
    scope = "forgather-job-test-1.scope"
    victim = subprocess.Popen(["sleep", "600"], env={**os.environ, "FORGATHER_SCOPE": scope})
    entry = builders.taken(spool, host=proc.host_name())
    claim = builders.a_claim(entry, host=proc.host_name()).as_document()
    runner = {"pid": victim.pid, "start_ticks": proc.start_ticks(victim.pid)}
    spool.write_claim(entry[1], claim | {"scope": scope, "boot_id": proc.boot_id(), "runner": runner})
    spool.start(entry[1])

    def dispatcher() -> None:
        victim.wait()
        builders.end(spool, entry, {"kind": "cancelled", "by": "me"}, host=proc.host_name())

    settling = threading.Thread(target=dispatcher)
    settling.start()

    said = printed("force-kill", "--yes", entry[1])

    settling.join()
    assert victim.returncode == -signal.SIGKILL
    assert "does not react" in said


def test_force_kill_needs_no_space_on_the_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job that fills the disk must be stoppable: no request can be written, KILL comes from here."""
    scope = "forgather-job-test-1.scope"
    victim = subprocess.Popen(["sleep", "600"], env={**os.environ, "FORGATHER_SCOPE": scope})
    entry = builders.taken(spool, host=proc.host_name())
    claim = builders.a_claim(entry, host=proc.host_name()).as_document()
    runner = {"pid": victim.pid, "start_ticks": proc.start_ticks(victim.pid)}
    spool.write_claim(entry[1], claim | {"scope": scope, "boot_id": proc.boot_id(), "runner": runner})
    spool.start(entry[1])

    def full(*_: object, **__: object) -> None:
        raise StorageFailed("cannot write x: No space left on device")

    monkeypatch.setattr("forgather_spool.cli.job.stopping.stop", full)

    error = failure("force-kill", "--yes", entry[1])

    assert victim.wait() == -signal.SIGKILL
    assert isinstance(error, StorageFailed) and "was killed, which cannot be written down" in str(error)
    assert "force-kill" in failure("kill", entry[1]).hint


def test_a_job_of_another_host_cannot_be_signalled_from_here(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forgather_spool.cli.job.stopping.RUNNER_REACTS_S", 0.0)
    entry = builders.running(spool, host="faraway")

    assert isinstance(failure("force-kill", "--yes", entry[1]), Missing)
    assert os.path.exists(spool.paths.stop_request(entry[1], 1, force=True))


# -- rerun --------------------------------------------------------------------------------------------------------


def test_rerun_submits_the_same_again_and_remembers_what_it_repeats(spool: Spool, nudged: list[str]) -> None:
    entry = builders.ended(spool, argv=["a", "b"], env={"K": "v"}, priority=3, git_commit="abc", gpus=2)

    told = json.loads(printed("rerun", "--json", entry[1]))
    again = look(spool, told["job_id"])

    assert told == {"job_id": again.job_id, "rerun_of": entry[1], "priority": 3, "gpus": 2, "hold": False}
    assert again.spec is not None and again.spec.document["rerun_of"] == entry[1]
    assert (again.spec.argv, again.spec.env, again.priority) == (("a", "b"), {"K": "v"}, 3)
    assert again.spec.document.get("git_commit") is None
    assert nudged


def test_rerun_with_another_priority(spool: Spool) -> None:
    entry = builders.submitted(spool)

    assert printed("rerun", "--priority", "9", entry[1]).rstrip().endswith("(priority=9, gpus=0)")
    assert isinstance(failure("rerun", "--priority", "99999999999", entry[1]), UsageError)


def test_rerun_with_other_options_and_without_what_held_it_back_then(spool: Spool) -> None:
    earlier = builders.submitted(spool)
    entry = builders.submitted(
        spool, after=[{"job": earlier[1], "when": "ok"}], begin_at="2026-01-01T00:00:00Z", hold=True, gpus=1
    )

    told = json.loads(printed("rerun", "--json", "--gpus", "3", "--retries", "2", "--name", "again", entry[1]))
    again = look(spool, told["job_id"]).spec

    assert again is not None
    assert (told["gpus"], again.gpus, again.name, again.document["retries"]) == (3, 3, "again", 2)
    assert not {"after", "begin_at", "hold"} & again.document.keys()


def test_a_key_counts_for_reruns_too(spool: Spool) -> None:
    ended = builders.ended(spool, unique="nightly")

    first = json.loads(printed("rerun", "--json", ended[1]))["job_id"]
    assert look(spool, first).state is State.WAITING

    for words in (["rerun", ended[1]], ["rerun", "--unique", "nightly", builders.submitted(spool)[1]]):
        refused = failure(*words)
        assert isinstance(refused, Busy)
        assert first in str(refused)


def test_of_several_reruns_each_is_a_line_and_the_first_starts_though_the_second_is_refused(
    spool: Spool, nudged: list[str]
) -> None:
    """Nobody was woken for it; and two JSON documents one after the other are none."""
    both = [builders.ended(spool)[1], builders.ended(spool, unique="nightly")[1]]

    told = [json.loads(line) for line in printed("rerun", "--json", *both).splitlines()]
    assert [one["rerun_of"] for one in told] == both

    nudged.clear()
    assert isinstance(failure("rerun", *both), Busy)
    assert nudged


def test_what_rerun_changes_has_to_be_as_at_submit(spool: Spool) -> None:
    entry = builders.submitted(spool)

    for words in (["--group", ""], ["--unique", ""], ["--time", "0"]):
        assert isinstance(failure("rerun", *words, entry[1]), UsageError)


@pytest.mark.parametrize(
    ("had", "words", "gone"),
    [
        ({"retries": 2, "retry_delay_s": 1, "retry_on": ["oom"]}, ["--retries", "0"], {"retry_delay_s", "retry_on"}),
        ({"gpus": 1, "preemptible": True, "jobs_per_gpu": 2}, ["--gpus", "0"], {"preemptible", "jobs_per_gpu"}),
    ],
)
def test_a_rerun_leaves_out_what_means_nothing_any_more(
    spool: Spool, had: dict[str, object], words: list[str], gone: set[str]
) -> None:
    """The user cannot take back an option of the first submit otherwise; one of this line is still refused."""
    entry = builders.ended(spool, **had)

    again = look(spool, json.loads(printed("rerun", "--json", *words, entry[1]))["job_id"]).spec

    assert again is not None and not gone & again.document.keys()
    assert isinstance(failure("rerun", "--retries", "0", "--retry-on", "oom", entry[1]), UsageError)


def test_status_of_a_job_that_trains_says_how_far_it_is(spool: Spool) -> None:
    entry = builders.running(spool)
    status = {
        "version": 1, "job_id": entry[1], "status": "training", "global_step": 131, "max_steps": 4000, "epoch": 0.25,
        "metrics": {"loss": 3.21, "note": "nan"}, "updated_at": "2026-01-01T00:00:00.000000Z",
    }  # fmt: skip
    builders.spool_file(f"{spool.paths.job(entry[1])}/status.json", status)

    assert "training:    step 131 of 4000, epoch 0.25, loss 3.21 (" in printed("status", entry[1])
    assert json.loads(printed("status", "--json", entry[1]))["training"]["global_step"] == 131
