"""`forgather control`, the same verbs under `forgather job`, and `forgather_spool.trainer_control`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from forgather_spool import trainer_control
from forgather_spool.cli.control.status import lines_of
from forgather_spool.cli.entry import main
from forgather_spool.document import dump
from forgather_spool.errors import BadDocument, NoSuchJob
from forgather_spool.host import proc
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import Spool
from tests import builders
from tests.loops import ROOT, Training
from tests.waiting import wait_until

Train = Callable[..., Training]
Run = Callable[..., tuple[int, str, str]]
OTHER_BOOT = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """``run("control", "list")``: exit code, stdout, stderr."""

    def run_it(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return run_it


def endpoint_of_another(paths: Paths, job_id: str, **facts: Any) -> Mailbox:
    """A trainer that never was on this host: its files, as its host would have left them."""
    mailbox = Mailbox(Spool(paths.home).create().paths, job_id)
    mailbox.create()
    started_at = "2026-01-01T00:00:00.000000Z"
    document = {
        "job_id": job_id, "host": "127.0.0.1", "port": None, "pid": 1, "start_ticks": 0, "boot_id": OTHER_BOOT,
        "hostname": "elsewhere", "started_at": started_at, "output_dir": None, "logging_dir": None,
    }  # fmt: skip
    Path(paths.job(job_id), "endpoint.json").write_bytes(dump(document | facts))
    return mailbox


def say_status(mailbox: Mailbox, age_s: float = 0, **facts: Any) -> None:
    updated_at = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
    document = {"job_id": mailbox.job_id, "status": "training", "updated_at": updated_at} | facts
    Path(mailbox.paths.job(mailbox.job_id), "status.json").write_bytes(dump(document))


# -- asking -------------------------------------------------------------------------------------------------------


def test_save_says_where_the_checkpoint_is(train: Train, run: Run) -> None:
    training = train()

    code, out, _ = run("control", "save", "run")

    step = training.checkpoints[0].removeprefix("checkpoint-")
    assert (code, out) == (0, f"saved: step {step}, {training.folder}/checkpoint-{step}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stop",), "stopping: step "),
        (("save-stop",), "saved and stopping: step "),
        (("abort", "--yes"), "aborted: step "),
        (("abort", "--force"), "aborted: step "),
    ],
)
def test_what_ends_a_run_says_so_once_it_is_carried_out(
    train: Train, run: Run, words: tuple[str, ...], said: str
) -> None:
    training = train()

    code, out, _ = run("control", *words, "run")

    assert (code, out[: len(said)]) == (0, said)
    assert training.ended()["aborted"] is (words[0] == "abort")


def test_json_says_all_of_it(train: Train, run: Run) -> None:
    training = train()

    code, out, _ = run("control", "save", "run", "--json")

    told = json.loads(out)
    assert code == 0
    assert (told["job_id"], told["command"], told["outcome"]) == ("run", "save_checkpoint", "done")
    assert told["checkpoint"] == str(training.folder / f"checkpoint-{told['step']}")


def test_a_refusal_is_exit_1_with_its_reason(train: Train, run: Run) -> None:
    train(saves="fail")

    code, out, err = run("control", "save", "run")
    json_code, json_out, _ = run("control", "save", "run", "--json")

    assert (code, out) == (1, "") and "No space left" in err
    assert (json_code, json.loads(json_out)["outcome"]) == (1, "failed")


def test_no_answer_in_time_is_exit_124_and_the_trainer_does_not_do_it_later(train: Train, run: Run) -> None:
    training = train()
    training.hold()

    code, _, err = run("control", "abort", "run", "--yes", "--timeout", "0.3s")
    training.let_go()

    assert code == 124 and "within 0.3 s" in err
    assert training.goes_on()
    assert training.answer("000001-abort")["outcome"] == "refused"


def test_whoever_does_not_wait_gets_an_id_to_ask_for(train: Train, run: Run) -> None:
    training = train()

    code, out, _ = run("control", "save", "run", "--no-wait")

    assert (code, out) == (0, "asked: 000001-save_checkpoint\n")
    assert training.answer("000001-save_checkpoint")["outcome"] == "done"


def test_abort_without_anybody_to_ask_is_usage(train: Train) -> None:
    training = train()

    result = forgather("control", "abort", "run")

    assert result.returncode == 2 and "--yes" in result.stderr
    assert training.goes_on()


def test_a_bad_timeout_is_usage_and_nothing_is_asked(train: Train, run: Run) -> None:
    training = train()

    assert run("control", "save", "run", "--timeout", "soon")[0] == 2
    assert training.mailbox.pending() == [] == list(training.control_folder.iterdir())


def forgather(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bin" / "forgather"), *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


# -- looking ------------------------------------------------------------------------------------------------------


def test_status_is_the_latest_step_and_metrics(train: Train, run: Run) -> None:
    train()

    code, out, _ = run("control", "status", "run", "--json")
    text = run("control", "status", "run")[1]

    told = json.loads(out)
    assert code == 0 and told["job_id"] == "run" and told["status"] == "training"
    assert told["global_step"] > 0 and told["max_steps"] == 1_000_000 and told["loss"] > 0
    assert text.startswith("run: training, ") and " of 1000000\n" in text and "loss" in text


def test_the_fast_way_and_clicks_way_say_the_same(train: Train, run: Run) -> None:
    training = train()
    training.hold()
    wait_until(lambda: run("control", "status", "run", "--json") == run("control", "status", "run", "--json"))

    assert run("control", "status", "--json", "--", "run")[1] == run("control", "status", "run", "--json")[1]


def test_status_needs_no_click(train: Train) -> None:
    """It is asked each second; click alone takes three times a bare interpreter."""
    train()
    heavy = "{'click', 'dataclasses', 'rich', 'typing'} & set(sys.modules)"
    program = f"import sys; from forgather_spool.cli.entry import main; main(sys.argv[1:]); print({heavy})"

    result = subprocess.run(
        [sys.executable, "-c", program, "control", "status", "run", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert result.stdout.splitlines()[-1] == "set()"


def test_what_a_metric_is_called_cannot_take_a_facts_place_or_touch_the_terminal(home: Path, run: Run) -> None:
    mailbox = endpoint_of_another(Paths(str(home)), "far")
    say_status(mailbox, global_step=7, metrics={"status": "fine", "a\x1b[2Jb": 1.5, "loss": "nan"})

    out = run("control", "status", "far")[1]

    assert out.startswith("far: training") and "fine" not in out
    assert "\x1b" not in out and "nan" in out


def test_ages_and_unknown_facts_in_a_persons_words() -> None:
    status = {
        "job_id": "x",
        "status": "starting",
        "timestamp": None,
        "global_step": None,
        "max_steps": 9,
        "epoch": None,
    }

    assert lines_of(status) == ["x: starting"]
    assert lines_of(status | {"timestamp": 100.0, "global_step": 3, "loss": 0.12345678}, 104.5) == [
        "x: starting, 4.5 s ago",
        "  step   3 of 9",
        "  loss   0.123457",
    ]


def test_list_shows_the_newest_first_and_the_dead_as_dead(train: Train, run: Run) -> None:
    train(job_id="older")
    dead = train(job_id="newer")
    dead.kill()

    rows = run("control", "list")[1].splitlines()[1:]
    told = json.loads(run("control", "list", "--json")[1])

    assert [row.split()[:2] for row in rows] == [["dead", "newer"], ["training", "older"]]
    assert [(one["job_id"], one["alive"]) for one in told] == [("newer", False), ("older", True)]


def test_list_of_nothing(home: Path, run: Run) -> None:
    assert run("control", "list") == (0, "no trainers\n", "")
    assert run("control", "list", "--json") == (0, "[]\n", "")
    assert not home.exists()


def test_a_damaged_endpoint_file_is_named_and_hides_no_other(train: Train, run: Run) -> None:
    train(job_id="good")
    bad = endpoint_of_another(Paths(str(train(job_id="other").paths.home)), "bad")
    Path(bad.paths.job("bad"), "endpoint.json").write_text("{")

    code, out, err = run("control", "list")

    assert code == 0 and "good" in out and "other" in out
    assert "bad/endpoint.json" in err


def test_a_trainer_of_another_host_is_neither_alive_nor_dead(home: Path, run: Run) -> None:
    say_status(endpoint_of_another(Paths(str(home)), "far"), age_s=500, global_step=3)

    assert json.loads(run("control", "list", "--json")[1])[0]["alive"] is None
    assert run("control", "status", "far")[1].startswith("far: training, 8 min ")


def test_a_process_that_got_the_pid_of_a_dead_trainer_is_not_taken_for_it(home: Path) -> None:
    facts = {"hostname": proc.host_name(), "boot_id": proc.boot_id(), "pid": 1, "start_ticks": 10**9}
    endpoint_of_another(Paths(str(home)), "stale", **facts)

    assert trainer_control.list_jobs() == []
    assert [job.alive for job in trainer_control.list_jobs(include_dead=True)] == [False]


def test_a_trainer_from_before_the_restart_of_this_host_is_dead(home: Path) -> None:
    endpoint_of_another(Paths(str(home)), "old", hostname=proc.host_name())

    assert [job.alive for job in trainer_control.list_jobs(include_dead=True)] == [False]


def test_a_container_on_this_kernel_is_not_judged_by_pids_it_does_not_share(home: Path) -> None:
    endpoint_of_another(Paths(str(home)), "inside", boot_id=proc.boot_id(), start_ticks=10**9)

    assert [job.alive for job in trainer_control.list_jobs()] == [None]


# -- naming -------------------------------------------------------------------------------------------------------


def test_the_beginning_of_just_one_id_will_do(train: Train, run: Run) -> None:
    train(job_id="alpha-1")
    train(job_id="beta-1")

    assert run("control", "save", "alp")[0] == 0
    assert run("control", "save", "be")[0] == 2  # two letters may be anything


def test_a_beginning_of_several_is_usage_and_lists_them(train: Train, run: Run) -> None:
    train(job_id="alpha-1")
    train(job_id="alpha-2")

    code, _, err = run("control", "save", "alpha")

    assert code == 2 and "alpha-1, alpha-2" in err


@pytest.mark.parametrize("name", ["nothing", "../../etc", "", "a/b", "x" * 5000, "\x1b[2J", "-"])
@pytest.mark.parametrize("verb", ["status", "save"])
def test_a_name_of_nothing_is_usage(home: Path, run: Run, verb: str, name: str) -> None:
    code, out, err = run("control", verb, "--", name)

    assert (code, out) == (2, "") and "\x1b" not in err


# -- queued jobs --------------------------------------------------------------------------------------------------


@pytest.fixture
def spool(home: Path) -> Spool:
    return Spool(str(home)).create()


def test_a_queued_jobs_trainer_is_asked_by_id_by_prefix_and_by_name(train: Train, run: Run, spool: Spool) -> None:
    _, job_id = builders.running(spool, name="mine")
    training = train(job_id=job_id)

    assert run("job", "save", job_id)[0] == 0
    assert run("job", "save", "mine")[0] == 0
    assert run("control", "save", "mine")[0] == 0
    assert run("job", "save-stop", job_id[:-2])[0] == 0
    training.ended()


@pytest.mark.parametrize("group", ["job", "control"])
@pytest.mark.parametrize("verb", ["save", "stop", "save-stop", "abort"])
def test_a_job_that_waits_has_no_trainer(run: Run, spool: Spool, group: str, verb: str) -> None:
    _, job_id = builders.submitted(spool)

    code, _, err = run(group, verb, job_id, *(["--yes"] if verb == "abort" else []))

    assert code == 1 and "waits in the queue" in err
    assert not Path(spool.paths.job(job_id), "control").exists()


def test_a_job_without_trainer_control_says_what_that_may_mean(run: Run, spool: Spool) -> None:
    _, job_id = builders.running(spool)

    code, _, err = run("job", "save", job_id)

    assert code == 1 and "still starting, or its program does not use TrainerControl" in err
    assert run("control", "status", job_id)[0] == 1


def test_a_job_that_ended_says_how(run: Run, spool: Spool) -> None:
    _, job_id = builders.ended(spool, outcome={"kind": "exited", "exit_code": 3})

    code, _, err = run("job", "stop", job_id)

    assert code == 1 and "has ended: exited 3" in err


def test_a_run_by_hand_that_ended_says_so(train: Train, run: Run) -> None:
    training = train()
    run("control", "stop", "run")
    training.ended()

    code, _, err = run("control", "save", "run")

    assert code == 1 and "has ended" in err
    assert json.loads(run("control", "status", "run", "--json")[1])["status"] == "ended"


# -- the dead -----------------------------------------------------------------------------------------------------


def test_a_dead_trainer_is_not_asked(train: Train, run: Run) -> None:
    training = train()
    training.kill()

    code, _, err = run("control", "save", "run")

    assert code == 1 and "is dead" in err
    assert training.mailbox.pending() == []


def test_whoever_waits_for_a_trainer_that_dies_is_told(train: Train, run: Run) -> None:
    training = train(saves="wait")
    saving = training.folder / "saving"
    killing = threading.Thread(target=lambda: (wait_until(saving.exists), training.kill()))
    killing.start()

    code, _, err = run("control", "save", "run")

    killing.join()
    assert code == 1 and "died before it answered" in err
    assert training.mailbox.acknowledgement("000001-save_checkpoint")["outcome"] == "failed"  # type: ignore[index]


@pytest.mark.parametrize("words", [("list",), ("status", "run"), ("cleanup", "--force")])
def test_what_a_dead_trainer_left_is_answered_by_whoever_looks(train: Train, run: Run, words: tuple[str, ...]) -> None:
    training = train()
    training.hold()
    command_id = training.mailbox.post("save_checkpoint", by="a test")
    training.kill()

    run("control", *words)

    answer = training.mailbox.acknowledgement(command_id)
    assert answer is not None and answer["outcome"] == "failed" and "died" in str(answer["reason"])


def test_a_dead_run_does_not_say_that_it_trains(train: Train, run: Run) -> None:
    training = train()
    training.kill()

    before = json.loads(run("control", "status", "run", "--json")[1])
    run("control", "cleanup", "--force")
    after = json.loads(run("control", "status", "run", "--json")[1])

    assert before["status"] == after["status"] == "dead"
    assert before["global_step"] == after["global_step"] > 0


def test_cleanup_removes_what_the_dead_are_found_by_and_nothing_else(train: Train, run: Run) -> None:
    alive, dead = train(job_id="alive"), train(job_id="dead")
    dead.kill()

    assert run("control", "cleanup", "--force")[:2] == (0, "removed 1: dead\n")

    assert alive.endpoint_file.exists() and alive.token
    folder = Path(dead.paths.job("dead"))
    assert sorted(path.name for path in folder.iterdir()) == ["control", "status.json"]
    assert run("control", "cleanup")[:2] == (0, "removed 0\n")


def test_cleanup_asks_first(train: Train) -> None:
    training = train()
    training.kill()

    result = forgather("control", "cleanup")

    assert result.returncode == 2 and training.endpoint_file.exists()


def test_cleanup_touches_another_hosts_trainer_only_when_told_how_long_is_too_long(home: Path, run: Run) -> None:
    paths = Paths(str(home))
    say_status(endpoint_of_another(paths, "silent"), age_s=7200)
    say_status(endpoint_of_another(paths, "talking"), age_s=10)

    assert json.loads(run("control", "cleanup", "--force", "--json")[1]) == []
    assert json.loads(run("control", "cleanup", "--force", "--json", "--ttl", "1h")[1]) == ["silent"]


# -- for scripts --------------------------------------------------------------------------------------------------


def test_the_seeds_script_works(train: Train) -> None:
    training = train()

    assert [job.job_id for job in trainer_control.list_jobs()] == ["run"]
    assert trainer_control.get_job_status("run")["max_steps"] == 1_000_000
    saved = trainer_control.save_checkpoint("run")
    assert saved.success and saved.acknowledgement is not None
    assert saved.acknowledgement["checkpoint"] == str(training.folder / training.checkpoints[0])
    assert trainer_control.graceful_stop("run").success
    training.ended()
    assert trainer_control.list_jobs() == []


def test_a_script_may_post_and_look_later(train: Train) -> None:
    training = train()

    posted = trainer_control.save_and_stop("run", wait=False)

    assert (posted.outcome, posted.success, posted.acknowledgement) == ("posted", True, None)
    assert training.answer(posted.command_id)["outcome"] == "done"


def test_a_script_sees_a_refusal_and_a_silence_as_values(train: Train) -> None:
    training = train()

    refused = trainer_control.send("run", "dance")
    training.hold()
    silence = trainer_control.abort("run", timeout_s=0.1)

    assert (refused.outcome, refused.success) == ("refused", False) and "dance" in refused.message
    assert (silence.outcome, silence.success) == ("unanswered", False)


def test_a_script_gets_what_a_handler_returned(train: Train) -> None:
    train()

    assert trainer_control.send("run", "greet", args={"who": "you"}).data == {"hello": "you"}


def test_asking_nobody_is_an_error(home: Path) -> None:
    with pytest.raises(NoSuchJob):
        trainer_control.get_job_status("nobody")
    with pytest.raises(NoSuchJob):
        trainer_control.abort("nobody")


def test_job_info_has_what_the_seed_names(train: Train) -> None:
    training = train(control={"output_dir": "out", "logging_dir": "logs"})

    job = trainer_control.list_jobs()[0]

    assert (job.host, job.port, job.pid, job.hostname) == ("127.0.0.1", None, training.process.pid, proc.host_name())
    assert (job.output_dir, job.logging_dir) == (str(training.folder / "out"), str(training.folder / "logs"))
    assert job.alive is True and job.endpoint_url is None
    assert timedelta(0) < datetime.now(UTC) - job.started_at < timedelta(minutes=5)


def test_a_trainer_that_ends_as_it_is_asked_leaves_an_answer(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posted after its last look and before anybody could know: whoever waits answers it."""
    training = train()
    post = Mailbox.post

    def post_too_late(mailbox: Mailbox, name: str, **how: Any) -> str:
        post(mailbox, "abort", by="a test")
        training.ended()
        return post(mailbox, name, **how)

    monkeypatch.setattr(Mailbox, "post", post_too_late)

    response = trainer_control.save_checkpoint("run")

    assert (response.outcome, response.message) == ("failed", "the training has ended")


def test_a_damaged_status_is_an_error_and_not_a_number(home: Path) -> None:
    mailbox = endpoint_of_another(Paths(str(home)), "far")
    say_status(mailbox, updated_at="yesterday")

    with pytest.raises(BadDocument, match="RFC 3339"):
        trainer_control.get_job_status("far")
