"""What a runner decides without touching anything: environment, outcome, journal lines."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from forgather_spool.errors import Missing
from forgather_spool.host.program import find_program
from forgather_spool.outcome import outcome_from_document
from forgather_spool.runner.client import nursery_environment
from forgather_spool.runner.command import find_cwd
from forgather_spool.runner.environment import job_environment
from forgather_spool.runner.journal_copy import JournalCopy
from forgather_spool.runner.request import MAX_REQUEST_BYTES, Request, size_of, spelled
from forgather_spool.runner.result import outcome_of

JOB = "q_1738012412345_a1b2c3d4"
EXITED_0, EXITED_3, KILLED, SEGFAULT = 0, 3 << 8, int(signal.SIGKILL), int(signal.SIGSEGV)


REQUEST: dict[str, Any] = {
    "job_id": JOB,
    "priority": 5,
    "host": "box",
    "attempt": 1,
    "scope": "s",
    "env": {"PATH": "/bin", "HOME": "/home/me"},
    "gpus": [],
    "cuda_visible_devices": None,
}


def a_request(**more: Any) -> Request:
    return Request({**REQUEST, **more})


# -- what it is told ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("follows", [b"", b"\x06"])
def test_a_request_is_known_to_have_come_whole(follows: bytes) -> None:
    told = spelled({**REQUEST, "spec": a_spec()})

    assert [size_of(told[:n]) for n in range(len(told))] == [None] * len(told)
    assert size_of(told + follows) == len(told)
    assert Request.from_bytes(told + follows).spec == a_spec()


def test_a_spec_that_is_too_large_to_pass_on_is_left_out() -> None:
    told = spelled({**REQUEST, "spec": a_spec(script="x" * MAX_REQUEST_BYTES)})

    assert Request.from_bytes(told).spec is None


# -- environment --------------------------------------------------------------------------------------------------


def a_spec(**more):
    return {"env": {}, "array": None, **more}


def test_the_spec_comes_over_the_host_and_we_over_both() -> None:
    spec = a_spec(env={"PATH": "/opt/bin", "FORGATHER_ATTEMPT": "77"})
    env = job_environment(a_request(), spec, "/home/me/.config/forgather")

    assert (env["PATH"], env["HOME"], env["FORGATHER_ATTEMPT"]) == ("/opt/bin", "/home/me", "1")


def test_a_member_of_an_array_knows_which_one_it_is_of_how_many() -> None:
    env = job_environment(a_request(job_id=f"{JOB}[7]"), a_spec(array={"indexes": "0-9:1,20"}), "/h")

    assert {name: value for name, value in env.items() if "ARRAY" in name} == {
        "FORGATHER_ARRAY_ID": JOB,
        "FORGATHER_ARRAY_INDEX": "7",
        "FORGATHER_ARRAY_SIZE": "11",
    }


def test_a_member_that_is_run_again_counts_as_many_as_there_were() -> None:
    env = job_environment(a_request(job_id=f"{JOB}[7]"), a_spec(array={"indexes": "7", "size": 100}), "/h")

    assert env["FORGATHER_ARRAY_SIZE"] == "100"


def test_a_job_of_its_own_hears_nothing_of_arrays() -> None:
    assert not any("ARRAY" in name for name in job_environment(a_request(), a_spec(), "/h"))


def test_a_job_without_cards_cannot_give_itself_some() -> None:
    assert job_environment(a_request(), a_spec(env={"CUDA_VISIBLE_DEVICES": "0"}), "/h")["CUDA_VISIBLE_DEVICES"] == ""


def test_python_writes_at_once_unless_the_job_says_otherwise() -> None:
    assert job_environment(a_request(), a_spec(env={}), "/h")["PYTHONUNBUFFERED"] == "1"
    assert job_environment(a_request(), a_spec(env={"PYTHONUNBUFFERED": ""}), "/h")["PYTHONUNBUFFERED"] == ""


def test_the_nursery_gets_none_of_the_service_managers_variables() -> None:
    managers = ("NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID")

    assert nursery_environment({"PATH": "/bin", "FORGATHER_HOST": "box", **dict.fromkeys(managers, "x")}) == {
        "PATH": "/bin",
        "FORGATHER_HOST": "box",
    }


# -- command ------------------------------------------------------------------------------------------------------


def test_without_a_directory_a_job_runs_at_home() -> None:
    assert find_cwd(None, {"HOME": "/tmp"}) == "/tmp"


def test_a_relative_directory_is_refused() -> None:
    with pytest.raises(Missing, match="absolute"):
        find_cwd("work", {})


def test_a_directory_is_no_command() -> None:
    with pytest.raises(Missing, match="is a directory"):
        find_program("/tmp", "/", {})


# -- outcome ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait_status", "asked", "oom", "outcome"),
    [
        (EXITED_3, None, False, {"kind": "exited", "exit_code": 3}),
        (SEGFAULT, None, False, {"kind": "killed", "signal": 11}),
        (KILLED, None, False, {"kind": "killed", "signal": 9}),
        (KILLED, None, True, {"kind": "out_of_memory", "signal": 9}),
        (EXITED_3, None, True, {"kind": "out_of_memory", "exit_code": 3}),
        (EXITED_0, None, True, {"kind": "exited", "exit_code": 0}),
        (SEGFAULT, None, True, {"kind": "killed", "signal": 11}),
        (EXITED_0, {"kind": "cancelled", "by": "me"}, False, {"kind": "cancelled", "by": "me", "exit_code": 0}),
        (KILLED, {"kind": "timed_out", "limit_s": 2.0}, True, {"kind": "timed_out", "limit_s": 2.0, "signal": 9}),
    ],
)
def test_an_outcome_is_what_happened_unless_we_asked_for_it(
    wait_status: int, asked: dict[str, Any] | None, oom: bool, outcome: dict[str, Any]
) -> None:
    """Out of memory only where the kernel's kill is what the command ended of."""
    assert outcome_of(wait_status, asked, oom) == outcome
    outcome_from_document(outcome)


# -- journal ------------------------------------------------------------------------------------------------------


class Sender:
    """A JournalSender with a budget of `left` lines."""

    def __init__(self, left: int = 1000) -> None:
        self.left = left
        self.lines: list[bytes] = []
        self.dropped_lines = 0

    def allowance(self) -> int:
        return self.left

    def send_lines(self, lines: list[bytes]) -> int:
        assert len(lines) <= self.left
        self.left -= len(lines)
        self.lines += lines
        return len(lines)

    def skip(self, lines: int) -> None:
        self.dropped_lines += lines


def fed(*chunks: bytes, left: int = 1000) -> Sender:
    sender = Sender(left)
    copy = JournalCopy(JOB, sender)  # type: ignore[arg-type]
    for chunk in chunks:
        copy.feed(chunk)
    copy.end()
    return sender


def test_lines_are_whole_however_they_are_read() -> None:
    assert fed(b"on", b"e\ntwo\n\nfo", b"ur").lines == [b"one", b"two", b"", b"four"]


def test_a_finished_bar_is_its_last_look() -> None:
    assert fed(b"\r 1%\r 50%\r100%\n", b"done\r\n").lines == [b"100%", b"done"]


def test_a_bar_that_goes_on_shows_up_at_most_every_30_s(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("forgather_spool.runner.journal_copy.time.monotonic", lambda: now[0])
    sender = Sender()
    copy = JournalCopy(JOB, sender)  # type: ignore[arg-type]

    for percent in range(61):
        copy.feed(b"\r%d%%" % percent)
        now[0] += 1.0

    assert sender.lines == [b"0%", b"30%", b"60%"]


def test_a_bar_takes_no_memory() -> None:
    copy = JournalCopy(JOB, Sender())  # type: ignore[arg-type]
    for _ in range(1000):
        copy.feed(b"\r" + b"#" * 100)

    assert len(copy._begun) == 100


def test_an_endless_line_is_cut_and_says_by_how_much() -> None:
    (line,) = fed(b"x" * 100_000, b"x" * 100_000, b"\n").lines

    assert line == b"x" * 49_152 + b" ... and 150848 bytes more, in output.log"


def test_over_budget_lines_are_counted_and_not_made() -> None:
    """Each line is sent or counted, once."""
    sender = fed(b"1\n2\n3\n4\n", b"5\n6", b"6\n", left=3)

    assert sender.lines == [b"1", b"2", b"3"]
    assert sender.dropped_lines == 3
