"""`forgather sched`: what a person at a terminal sees of a queue, and does to it."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forgather_spool import schema
from forgather_spool.cli import app
from forgather_spool.cli.sched.command import sched
from forgather_spool.cli.sched.listing_table import HEADERS
from forgather_spool.cli.table import cells, render
from forgather_spool.errors import AlreadyClaimed, BadDocument, JobFailed, NoSuchJob, UsageError
from forgather_spool.host import proc
from forgather_spool.job import State
from forgather_spool.outcome import Cancelled
from forgather_spool.spool import settings
from forgather_spool.spool.look import find, look
from forgather_spool.spool.place import Queued, locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject
from tests import builders

HERE = proc.host_name()


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Homes whose dispatcher was woken; none is."""
    homes: list[str] = []
    for module in ("sched.command", "sched.tidy", "job.stopping"):
        monkeypatch.setattr(f"forgather_spool.cli.{module}.nudge", lambda spool: homes.append(spool.paths.home))
    return homes


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nudged: list[str]) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")
    return Spool().create()


class OnAFullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(sched, list(words), env=environ)


def printed(*words: str, **environ: str) -> str:
    result = run(*words, **environ)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*words: str) -> Any:
    return json.loads(printed(*words, "--json"))


def failure(*words: str) -> BaseException:
    result = run(*words)
    assert result.exception is not None, result.output
    return result.exception


# -- status -------------------------------------------------------------------------------------------------------


def test_status_is_one_line(spool: Spool) -> None:
    builders.submitted(spool)
    builders.running(spool)

    assert printed("status") == "enabled=True queued=1 running=1 host=process dispatcher=asleep last_seen=never\n"


def test_status_of_a_home_that_is_not_there_is_an_empty_queue(spool: Spool, tmp_path: Path) -> None:
    """Looking makes nothing."""
    elsewhere = tmp_path / "elsewhere"

    assert "queued=0 running=0" in printed("status", FORGATHER_HOME=str(elsewhere))
    assert printed("list", FORGATHER_HOME=str(elsewhere)) == "no jobs\n"
    assert not elsewhere.exists()


def test_a_dispatcher_that_holds_the_lock_is_awake(spool: Spool) -> None:
    import fcntl

    fd = os.open(spool.paths.host_lock(HERE), os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)

    assert told("status")["dispatcher"] == {"awake": True, "pid": None, "last_seen_at": None}

    os.close(fd)
    assert told("status")["dispatcher"]["awake"] is False


def test_a_damaged_dispatch_file_is_an_error_and_never_the_default(spool: Spool) -> None:
    builders.damage(spool.paths.dispatch)

    assert isinstance(failure("status"), BadDocument)
    assert isinstance(failure("resume"), BadDocument)


# -- list ---------------------------------------------------------------------------------------------------------


def test_queued_jobs_come_first_then_active_then_what_ended_last(spool: Spool) -> None:
    ended = builders.ended(spool, name="ended", outcome={"kind": "exited", "exit_code": 3})
    active = builders.running(spool, name="active", cards=(0, 2), gpus=2)
    late = builders.submitted(spool, name="late")
    first = builders.submitted(spool, name="first", priority=5)

    lines = printed("list").splitlines()

    assert lines[0].split() == [*HEADERS]
    assert [line.split()[1] for line in lines[1:]] == [first[1], late[1], active[1], ended[1]]
    assert "starts at the next pass" in lines[1]
    assert "2 [0,2]" in lines[3]
    assert lines[4].endswith("exited 3")


def test_what_an_earlier_boot_ran_is_not_said_to_run(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the first dispatcher after a reboot has settled it, its files are those of a running job."""
    builders.running(spool, host=HERE)
    monkeypatch.setattr(proc, "boot_id", lambda: builders.BOOT_ID)
    assert told("list")["jobs"][0]["state"] == "running"
    builders.running(spool, host="another")  # of whose boots nothing is known here

    monkeypatch.setattr(proc, "boot_id", lambda: "99999999-2222-3333-4444-555555555555")

    assert {job["host"]: job["state"] for job in told("list")["jobs"]} == {HERE: "ending", "another": "running"}
    [line] = [line for line in printed("list").splitlines() if "this machine was restarted while it ran" in line]
    assert line.split()[0] == "ending"


def test_a_paused_queue_says_so_for_each_job(spool: Spool) -> None:
    builders.submitted(spool)
    printed("pause")

    assert "paused" in printed("list")
    assert told("list")["jobs"][0]["reason"] == {"code": "paused", "text": "the queue is paused, so nothing starts"}


def test_only_what_is_asked_for_is_listed(spool: Spool) -> None:
    builders.submitted(spool, name="eval-1")
    builders.running(spool, name="eval-2")
    builders.ended(spool, name="train")

    assert [job["name"] for job in told("list", "--state", "active")["jobs"]] == ["eval-2"]
    assert [job["name"] for job in told("list", "--state", "done", "--state", "waiting")["jobs"]] == ["eval-1", "train"]
    assert [job["name"] for job in told("list", "--name", "eval-*")["jobs"]] == ["eval-1", "eval-2"]
    assert [job["name"] for job in told("list", "--state", "launching")["jobs"]] == []


def test_a_long_queue_is_cut_and_the_rest_is_counted(spool: Spool) -> None:
    for _ in range(25):
        builders.submitted(spool)

    assert "… and 5 more waiting (--all, or --limit N)" in printed("list")
    assert len(told("list", "--all")["jobs"]) == 25
    assert told("list", "--limit", "3")["more"] == {"waiting": 22, "held": 0, "active": 0, "ended": 0}
    assert told("list", "--name", "*", "--limit", "3")["more"]["waiting"] is None


def test_no_more_specs_are_read_than_shown(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes 10,000 queued jobs as cheap to list as none."""
    from forgather_spool.spool import files

    for _ in range(100):
        builders.submitted(spool)
    read: list[str] = []
    real = files.read_document
    monkeypatch.setattr(files, "read_document", lambda path: read.append(path) or real(path))

    printed("list")

    assert len([path for path in read if path.startswith(spool.paths.queue)]) < 25


def test_a_damaged_spec_is_a_row_that_says_so(spool: Spool) -> None:
    entry = builders.submitted(spool)
    path = spool.paths.queued(entry[1], 0)
    builders.damage(path)

    assert path in told("list")["jobs"][0]["problem"]
    assert "$" in printed("list").splitlines()[1]


def test_a_damaged_result_is_a_row_that_says_so(spool: Spool) -> None:
    entry = builders.ended(spool)
    builders.damage(spool.paths.result(entry[1], 1))

    [job] = told("list")["jobs"]
    assert spool.paths.result(entry[1], 1) in job["problem"]
    assert job["outcome"] is None


def test_a_name_cannot_act_on_the_terminal(spool: Spool) -> None:
    builders.submitted(spool, name="\x1b[2J\u202egnp.exe\nwaiting q_fake\x9b31m")

    table = printed("list")

    assert not {"\x1b", "\u202e", "\x9b"} & set(table)
    assert len(table.splitlines()) == 2


@pytest.mark.parametrize("columns", [20, 60, 80, 132])
def test_a_table_is_never_wider_than_the_terminal(spool: Spool, columns: int) -> None:
    builders.submitted(spool, name="训练" * 40, gpus=8)
    builders.submitted(spool, argv=["python", "train.py", *["--option"] * 50])

    lines = printed("list", COLUMNS=str(columns)).splitlines()

    assert max(map(cells, lines)) <= columns


def test_on_a_usual_terminal_a_job_is_one_line(spool: Spool) -> None:
    """Short ids name jobs as full ones do; what long reasons say gets a line below."""
    waiting = builders.submitted(spool, name="a name that is far too long to stand here", priority=3)
    _, ended = builders.ended(spool, name="eval")

    heading, *lines = printed("list", COLUMNS="80").splitlines()

    assert heading.split() == ["Status", "ID", "Pri", "GPUs", "Name/Command", "Time", "Reason/Outcome"]
    assert [line.split()[1] for line in lines] == [waiting[1][-8:], ended[-8:]]
    assert lines[0].endswith("starts at the next pass") and lines[1].endswith("exited 0")
    assert find(spool, ended[-8:]) == ended


def test_where_a_reason_has_no_room_it_gets_a_line(spool: Spool) -> None:
    builders.submitted(spool, name="n")

    lines = printed("list", COLUMNS="50").splitlines()

    assert lines[2].strip() == "starts at the next pass"


def test_a_table_of_nothing_has_no_heading() -> None:
    assert render(HEADERS, [], width=80, name_column=5) == []


def test_set_aside_files_are_counted_and_explained(spool: Spool) -> None:
    dropped = Path(spool.paths.incoming, "bad\x1b.json")
    dropped.write_text("{")
    reject(spool, str(dropped), "$: not JSON")

    assert "rejected: 1 in " in printed("list")
    listed = printed("list", "--state", "rejected")
    assert "bad\\x1b.json" in listed and "not JSON" in listed


def test_a_dispatcher_looks_when_something_runs(spool: Spool, nudged: list[str]) -> None:
    """A runner may have died while nobody was awake: the list would say `running` for ever."""
    builders.submitted(spool)
    printed("list")
    assert nudged == []

    builders.running(spool)
    printed("list")
    assert nudged == [spool.paths.home]


# -- pause, resume, limit -----------------------------------------------------------------------------------------


def test_pause_holds_until_resume(spool: Spool, nudged: list[str]) -> None:
    builders.submitted(spool)

    printed("pause")
    assert "enabled=False" in printed("status")
    assert nudged == []

    printed("resume")
    assert "enabled=True" in printed("status")
    assert nudged


@pytest.mark.parametrize(
    "words",
    ["sched resume", "sched limit 3", "sched keep-cards 1m", "sched group set g --limit 2", "sched retention --keep 5",
     "sched release --all", "sched cancel running", "job kill --no-wait running", "gpu foreign ignore"],
)  # fmt: skip
def test_a_dispatcher_looks_also_where_the_answer_cannot_be_said(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """What was asked for is done by then: with a full disk under stdout, nobody acted on it."""
    woken: list[str] = []
    monkeypatch.undo()
    monkeypatch.setenv("FORGATHER_HOME", spool.paths.home)
    monkeypatch.setattr("forgather_spool.dispatcher.wake.wake", lambda paths: woken.append(paths.home))
    builders.submitted(spool)
    builders.submitted(spool, hold=True)
    builders.running(spool, name="running")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr("sys.stdout", OnAFullDisk())
        app.run(words.split())

    assert woken == [spool.paths.home]


def test_settings_that_cannot_be_read_are_why_nothing_starts(spool: Spool) -> None:
    builders.submitted(spool)
    builders.damage(spool.paths.dispatch)

    [waiting] = told("list")["jobs"]

    assert waiting["reason"]["code"] == "paused"
    assert waiting["reason"]["text"].startswith(f"nothing starts until the settings can be read: {spool.paths.server}")


def test_the_limit_of_jobs_without_a_card(spool: Spool) -> None:
    builders.running(spool, host=HERE)
    builders.submitted(spool)
    assert printed("limit") == "jobs without a card at once: default\n"
    assert printed("limit", "1") == printed("limit") == "jobs without a card at once: 1\n"
    assert told("list", "--state", "waiting")["jobs"][0]["reason"]["code"] == "no_gpu_limit"

    printed("limit", "default")
    assert settings.dispatch(spool.paths)["no_gpu_limit"] is None
    assert [run("limit", wrong).exit_code for wrong in ("many", "0", "-1", "9" * 30)] == [2, 2, 2, 2]


# -- cancel -------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled(spool: Spool) -> None:
    entry = builders.submitted(spool, name="mine")

    assert "cancelled" in printed("cancel", "mine")

    result = look(spool, entry[1]).result
    assert result is not None and isinstance(result.outcome, Cancelled)


def test_a_running_job_is_asked_to_stop(spool: Spool, nudged: list[str]) -> None:
    entry = builders.running(spool)

    assert "TERM" in printed("cancel", entry[1])

    assert os.path.exists(spool.paths.stop_request(entry[1], 1, force=False))
    assert nudged


def test_when_one_of_several_is_no_job_none_is_cancelled(spool: Spool) -> None:
    entry = builders.submitted(spool)

    assert isinstance(failure("cancel", entry[1], "nonsense"), NoSuchJob)

    assert isinstance(locate(spool, entry[1]), Queued)


def test_all_queued_leaves_running_jobs_alone(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that a dispatcher claims in this moment."""
    builders.submitted(spool), builders.submitted(spool)
    runs = builders.running(spool)
    lost = builders.submitted(spool)
    real = Spool.cancel_waiting

    def loses_one(self: Spool, entry: Any, by: str, **how: Any) -> None:
        if entry == lost:
            raise AlreadyClaimed("claimed")
        real(self, entry, by, **how)

    monkeypatch.setattr(Spool, "cancel_waiting", loses_one)

    assert printed("cancel", "--all-queued") == "cancelled 2\n"
    assert look(spool, runs[1]).state is State.RUNNING


@pytest.mark.parametrize("words", [[], ["--all-queued", "x"]])
def test_cancel_wants_either_jobs_or_all(spool: Spool, words: list[str]) -> None:
    assert run("cancel", *words).exit_code == 2


# -- cleanup ------------------------------------------------------------------------------------------------------


def removed(*words: str) -> int:
    return int(printed("cleanup", *words).split()[1])


def test_cleanup_removes_what_ended_and_nothing_else(spool: Spool) -> None:
    ended, runs, waits = builders.ended(spool), builders.running(spool), builders.submitted(spool)

    assert removed() == 1

    assert locate(spool, ended[1]) is None and not os.path.exists(spool.paths.job(ended[1]))
    assert locate(spool, runs[1]) and locate(spool, waits[1])


def test_cleanup_of_a_job_that_runs_is_refused_and_removes_nothing(spool: Spool) -> None:
    ended, runs = builders.ended(spool), builders.running(spool)

    assert isinstance(failure("cleanup", ended[1], runs[1]), UsageError)

    assert locate(spool, ended[1])


def test_cleanup_of_a_job_just_before_done_removes_it(spool: Spool) -> None:
    entry = builders.ending(spool)

    assert removed(entry[1]) == 1
    assert locate(spool, entry[1]) is None


def test_a_rejected_file_goes_only_by_its_name(spool: Spool) -> None:
    dropped = Path(spool.paths.incoming, "bad.json")
    dropped.write_text("{")
    reject(spool, str(dropped), "$: not JSON")

    assert removed() == 0
    assert "not JSON" in printed("why", "bad.json")
    assert removed("bad.json") == 1

    assert os.listdir(spool.paths.rejected) == []


def test_cleanup_by_age(spool: Spool) -> None:
    builders.ended(spool)

    assert removed("--older-than", "1h") == 0
    assert run("cleanup", "--older-than", "soon").exit_code != 0


def test_a_dry_run_says_what_would_go_and_removes_nothing(spool: Spool) -> None:
    good, bad = builders.ended(spool), builders.ended(spool, outcome={"kind": "exited", "exit_code": 1})

    said = printed("cleanup", "--outcome", "failed", "--dry-run")

    assert said.splitlines()[0] == bad[1] and "would remove 1" in said
    assert told("cleanup", "--outcome", "failed", "--dry-run")["removed"] == [bad[1]]
    assert locate(spool, good[1]) and locate(spool, bad[1])


def test_somebody_at_the_terminal_is_asked_first(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = builders.ended(spool)
    monkeypatch.setattr("forgather_spool.cli.sched.tidy._somebody_is_there", lambda: True)
    asked: list[str] = []
    monkeypatch.setattr("forgather_spool.cli.sched.tidy.confirmed", lambda question: bool(asked.append(question)))

    assert isinstance(failure("cleanup"), JobFailed)

    assert "1 ended job" in asked[0]
    assert locate(spool, entry[1])
    assert removed("--yes") == 1


def test_what_a_waiting_job_comes_after_is_not_removed(spool: Spool) -> None:
    first = builders.ended(spool)
    later = builders.submitted(spool, after=[{"job": first[1]}])

    assert removed() == 0
    assert isinstance(failure("cleanup", first[1]), UsageError)

    spool.cancel_waiting(later, "anna")
    assert removed() == 2


def test_what_retention_says_is_begun_with_at_once(spool: Spool, nudged: list[str]) -> None:
    """With nothing to run no dispatcher is awake: it would come with the next job."""
    printed("retention")
    assert nudged == []

    printed("retention", "--older-than", "30d")
    assert nudged


def test_retention_is_set_shown_and_taken_away(spool: Spool) -> None:
    """Nothing goes by itself unless somebody said so."""
    assert printed("retention") == "nothing goes by itself\n"

    printed("retention", "--older-than", "30d", "--max-size", "10G", "--keep", "100", "--outcome", "ok")

    assert printed("retention") == (
        "when idle: ended jobs (ok) go that are older than 30 d or are beyond 10 GiB; the last 100 stay\n"
    )
    assert told("retention") == {
        "older_than_s": 30 * 86400, "keep": 100, "max_bytes": 10 << 30, "outcomes": ["ok"]
    }  # fmt: skip
    assert isinstance(failure("retention", "--outcome", "ok"), UsageError)
    printed("retention", "--off")
    assert told("retention") is None


# -- why ----------------------------------------------------------------------------------------------------------


def test_why_says_what_a_job_waits_for(spool: Spool) -> None:
    builders.submitted(spool)
    entry = builders.submitted(spool)
    printed("limit", "1")
    builders.running(spool, host=HERE)

    told_why = printed("why", entry[1])

    assert "as many jobs without a card run as may at once (1)" in told_why
    assert "1 ahead of it" in told_why
    assert told("why", entry[1])["code"] == "no_gpu_limit"


def test_why_reads_what_stands_before_a_job_only_while_that_could_start(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100,000 that wait only the number matters: names tell it."""
    settings.change_dispatch(spool.paths, paused=True)
    waiting = [builders.submitted(spool) for _ in range(30)]
    read: list[object] = []
    queued_spec = Spool.queued_spec
    monkeypatch.setattr(Spool, "queued_spec", lambda self, entry: read.append(entry) or queued_spec(self, entry))

    told_why = printed("why", waiting[-1][1])

    assert "paused" in told_why
    assert "29 ahead of it" in told_why
    assert read == [waiting[-1]]


def test_why_of_a_job_that_does_not_wait_says_how_it_is(spool: Spool) -> None:
    entry = builders.ended(spool)

    assert "does not wait: exited 0" in printed("why", entry[1])
    assert told("why", entry[1])["code"] is None


def test_how_long_a_job_waits_until_cards_are_kept_for_it_is_the_owners_choice(spool: Spool) -> None:
    assert run("keep-cards", "10m").output == run("keep-cards").output == "cards are kept for who waited 10 min\n"
    assert settings.dispatch(spool.paths)["reserve_after_s"] == 600
    assert run("keep-cards", "never").output == run("keep-cards").output == "cards are kept for nobody\n"
    assert settings.dispatch(spool.paths)["reserve_after_s"] is None
    run("keep-cards", "default")
    assert settings.dispatch(spool.paths)["reserve_after_s"] == schema.DISPATCH["reserve_after_s"].default
