"""What a running loop is asked, what it does, and that each command gets exactly one answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from forgather_spool.spool.mailbox import ACK, Mailbox
from forgather_spool.spool.paths import Paths
from tests.loops import Training
from tests.waiting import wait_until

Train = Callable[..., Training]
PAST = "2020-01-01T00:00:00Z"


def post(training: Training, name: str, **how: object) -> str:
    return training.mailbox.post(name, by="a test", **how)  # type: ignore[arg-type]


# -- the five commands --------------------------------------------------------------------------------------------


def test_a_save_is_answered_with_its_step_and_its_path_and_training_goes_on(train: Train) -> None:
    training = train()

    answer = training.answer(post(training, "save_checkpoint"))

    assert answer["outcome"] == "done"
    assert answer["checkpoint"] == str(training.folder / f"checkpoint-{answer['step']}")
    assert training.checkpoints == [f"checkpoint-{answer['step']}"]
    assert training.goes_on()


def test_a_save_asks_for_an_evaluation_too(train: Train) -> None:
    training = train()
    training.answer(post(training, "save_checkpoint"))

    training.answer(post(training, "abort"))

    assert training.ended()["evaluations"] == 1


def test_a_graceful_stop_saves_and_ends(train: Train) -> None:
    training = train()

    answer = training.answer(post(training, "graceful_stop"))

    ended = training.ended()
    assert answer["outcome"] == "done" and answer["step"] == ended["step"]
    assert training.checkpoints == [f"checkpoint-{ended['step']}"]


def test_a_graceful_stop_saves_nothing_where_the_strategy_is_no(train: Train) -> None:
    training = train(control={"save_on_stop": False})

    answer = training.answer(post(training, "graceful_stop"))

    training.ended()
    assert answer["outcome"] == "done" and answer["checkpoint"] is None
    assert training.checkpoints == []


def test_save_and_stop_saves_whatever_the_strategy(train: Train) -> None:
    training = train(control={"save_on_stop": False})

    answer = training.answer(post(training, "save_and_stop"))

    ended = training.ended()
    assert answer["checkpoint"] == str(training.folder / f"checkpoint-{ended['step']}")


def test_an_abort_ends_without_saving(train: Train) -> None:
    training = train()

    answer = training.answer(post(training, "abort"))

    assert answer["outcome"] == "done"
    assert training.ended()["aborted"] is True
    assert training.checkpoints == []


def test_status_says_where_it_is(train: Train) -> None:
    training = train()

    answer = training.answer(post(training, "status"))

    assert answer["data"]["global_step"] == answer["step"]
    assert answer["data"]["metrics"]["loss"] == pytest.approx(1 / answer["step"])
    assert training.goes_on()


def test_a_clean_end_leaves_no_endpoint_and_says_that_it_ended(train: Train) -> None:
    training = train()

    post(training, "abort")
    training.ended()

    folder = Path(training.paths.job(training.job_id))
    assert not (folder / "endpoint.json").exists() and not (folder / "auth_token").exists()
    assert json.loads(training.status_file.read_text())["status"] == "ended"


def test_endpoint_token_and_mailbox_are_the_owners_alone(train: Train) -> None:
    training = train()
    folder = Path(training.paths.job(training.job_id))

    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}

    assert modes == {"endpoint.json": 0o600, "auth_token": 0o600, "status.json": 0o600, "control": 0o700}
    assert folder.stat().st_mode & 0o777 == 0o700


# -- twice, late, together ----------------------------------------------------------------------------------------


def test_two_saves_at_one_step_are_one_checkpoint_and_two_answers(train: Train) -> None:
    training = train()
    training.hold()
    ids = [post(training, "save_checkpoint"), post(training, "save_checkpoint")]

    training.hears()
    training.let_go()

    assert len({training.answer(command_id)["checkpoint"] for command_id in ids}) == 1
    assert len(training.checkpoints) == 1


def test_a_save_asked_while_saving_gets_a_checkpoint_of_its_own(train: Train) -> None:
    training = train(saves="wait")
    first = post(training, "save_checkpoint")
    wait_until((training.folder / "saving").exists, what="a save that has begun")

    second = post(training, "save_checkpoint")
    (training.folder / "gate").touch()

    assert training.answer(first)["step"] < training.answer(second)["step"]
    assert len(training.checkpoints) == 2


def test_a_stop_asked_twice_stops_once_and_answers_both(train: Train) -> None:
    training = train()
    training.hold()
    ids = [post(training, "graceful_stop"), post(training, "graceful_stop")]

    training.hears()
    training.let_go()

    assert [training.answer(command_id)["outcome"] for command_id in ids] == ["done", "done"]
    training.ended()


def test_an_abort_beats_the_save_asked_with_it(train: Train) -> None:
    """Nothing is saved, and nobody is told that something was."""
    training = train()
    training.hold()
    before, abort, after = (post(training, name) for name in ("save_checkpoint", "abort", "save_and_stop"))

    training.hears()
    training.let_go()

    assert training.ended()["aborted"] is True
    assert training.answer(abort)["outcome"] == "done"
    assert [training.answer(one)["reason"] for one in (before, after)] == ["the run was aborted"] * 2
    assert training.checkpoints == []


def test_a_command_that_comes_too_late_is_refused(train: Train) -> None:
    training = train()

    answer = training.answer(post(training, "abort", deadline_at=PAST))

    assert answer["outcome"] == "refused" and PAST in answer["reason"]
    assert training.goes_on()


def test_a_deadline_may_be_written_in_any_time_zone(train: Train) -> None:
    training = train()

    late = training.answer(post(training, "status", deadline_at="2020-01-01T23:00:00+09:00"))
    early = training.answer(post(training, "status", deadline_at="2100-01-01T00:00:00-09:00"))
    nonsense = training.answer(post(training, "abort", deadline_at="soon"))

    assert (late["outcome"], early["outcome"], nonsense["outcome"]) == ("refused", "done", "refused")
    assert training.goes_on()


def test_a_deadline_that_passes_during_a_long_step_still_holds(train: Train) -> None:
    """Whoever asked has given up by then, and must not be surprised by a stop."""
    from datetime import UTC, datetime, timedelta

    training = train()
    training.hold()
    soon = datetime.now(UTC) + timedelta(seconds=0.4)
    command_id = post(training, "abort", deadline_at=soon.isoformat())
    wait_until(lambda: datetime.now(UTC) > soon, what="the deadline")

    training.let_go()

    assert training.answer(command_id)["outcome"] == "refused"
    assert training.goes_on()


# -- saves that fail ----------------------------------------------------------------------------------------------


def test_a_save_that_fails_is_answered_with_the_error_and_training_goes_on(train: Train) -> None:
    training = train(saves="fail")

    answer = training.answer(post(training, "save_checkpoint"))

    assert answer["outcome"] == "failed" and "No space left" in answer["reason"]
    assert training.goes_on()


def test_a_loop_that_does_not_say_it_saved_is_not_believed(train: Train) -> None:
    training = train(saves="forget")

    answer = training.answer(post(training, "save_checkpoint"))

    assert answer["outcome"] == "failed" and "did not say" in answer["reason"]


# -- commands of one's own ----------------------------------------------------------------------------------------


def test_a_handler_of_the_users_answers_with_what_it_returns(train: Train) -> None:
    training = train()

    answer = training.answer(post(training, "greet", args={"who": "you"}))

    assert (answer["outcome"], answer["data"]) == ("done", {"hello": "you"})


@pytest.mark.parametrize("args", [{"fail": "no\x1bway"}, {"nan": True}], ids=["raises", "returns no JSON"])
def test_a_handler_that_fails_ends_neither_the_run_nor_the_answers_of_others(
    train: Train, args: dict[str, object]
) -> None:
    training = train()

    answer = training.answer(post(training, "greet", args=args))

    assert answer["outcome"] == "failed"
    assert training.answer(post(training, "status"))["outcome"] == "done"


def test_an_unknown_command_is_refused(train: Train) -> None:
    training = train()

    answer = training.answer(post(training, "dance"))

    assert answer["outcome"] == "refused" and "dance" in answer["reason"]


# -- garbage ------------------------------------------------------------------------------------------------------


def deep(path: Path) -> None:
    path.write_text('{"command": ' + "[" * 100_000)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def folder(path: Path) -> None:
    path.mkdir()


def written(text: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text)

    return write


POISON = {
    "nothing": written(b""),
    "half": written(b'{"command": "abo'),
    "bytes": written(b"\xff\xfe\x00"),
    "no object": written(b"[1]"),
    "no command": written(b"{}"),
    "a number for a command": written(b'{"command": 7, "posted_at": "x"}'),
    "duplicate keys": written(b'{"command": "abort", "command": "status", "posted_at": "x"}'),
    "a surrogate": written(rb'{"command": "\ud800", "posted_at": "x"}'),
    "a NUL": written(rb'{"command": "a\u0000b", "posted_at": "x"}'),
    "NaN": written(b'{"command": "greet", "posted_at": "x", "args": {"n": NaN}}'),
    "args that are none": written(b'{"command": "greet", "posted_at": "x", "args": [1]}'),
    "of a later version": written(b'{"version": 9, "command": "abort", "posted_at": "x"}'),
    "two megabytes": written(b" " * 2_000_000),
    "deep": deep,
    "fifo": fifo,
    "link": link,
    "folder": folder,
}


@pytest.mark.parametrize("kind", POISON)
def test_garbage_in_the_mailbox_is_refused_and_holds_nothing_up(train: Train, kind: str) -> None:
    training = train()

    POISON[kind](training.control_folder / "000001-abort.json")
    command_id = post(training, "status")

    assert training.answer("000001-abort")["outcome"] == "refused"
    assert training.answer(command_id)["outcome"] == "done"
    assert training.goes_on()


@pytest.mark.parametrize(
    "name",
    [
        "x.json",
        "abort.json",
        "000000-abort.json",
        ".json",
        "-1-abort.json",
        "000001-" + "x" * 230 + ".json",
        "1e3-a.json",
    ],
)
def test_a_file_that_is_no_command_by_its_name_is_left_alone(train: Train, name: str) -> None:
    training = train()
    (training.control_folder / name).write_text('{"command": "abort", "posted_at": "x"}')

    assert training.answer(post(training, "status"))["outcome"] == "done"
    assert training.goes_on()
    assert "trouble" not in training.stderr


@pytest.mark.parametrize("name", [b"000001-\xff\xfe.json", b"000001-a\nb\x1b[2J.json", "000001-\u202e.json".encode()])
def test_a_name_that_no_terminal_should_see_is_answered_like_any_other(train: Train, name: bytes) -> None:
    training = train()
    (training.control_folder / os.fsdecode(name)).write_text("garbage")

    assert training.answer(os.fsdecode(name).removesuffix(".json"))["outcome"] == "refused"


def test_a_huge_number_does_not_use_the_numbers_up(train: Train) -> None:
    training = train()
    (training.control_folder / "999999999999-status.json").write_text("{}")
    (training.control_folder / "999999999-status.json").write_text("{}")

    assert [training.answer(post(training, "status"))["outcome"] for _ in range(3)] == ["done"] * 3


def test_an_answer_that_somebody_else_gave_stands(train: Train) -> None:
    training = train()
    training.hold()
    command_id = post(training, "save_checkpoint")
    assert training.mailbox.acknowledge(command_id, "refused", by="a test", reason="first")

    training.let_go()

    assert training.goes_on()
    assert training.answer(command_id)["reason"] == "first"


# -- deaths -------------------------------------------------------------------------------------------------------


def test_what_comes_when_the_training_has_ended_is_refused_by_the_trainer(train: Train) -> None:
    training = train(saves="wait", linger=True)
    stop = post(training, "save_and_stop")
    wait_until((training.folder / "saving").exists, what="the last save")

    late = post(training, "save_checkpoint")
    (training.folder / "gate").touch()

    assert training.answer(stop)["outcome"] == "done"
    assert training.answer(late)["outcome"] == "refused"


def test_a_run_that_takes_a_dead_ones_place_answers_what_that_left(train: Train) -> None:
    """A stop meant for the run that died does not stop its successor."""
    dead = train()
    dead.hold()
    command_id = post(dead, "abort")
    dead.kill()

    successor = train()

    assert successor.answer(command_id)["outcome"] == "failed"
    assert "died" in successor.answer(command_id)["reason"]
    assert successor.goes_on()


def test_two_runs_of_one_id_do_not_share_a_mailbox(train: Train) -> None:
    first = train(job_id="same")

    second = train(wait=False, job_id="same")

    wait_until(lambda: "taken by a running trainer" in second.stderr, what="a warning")
    assert first.answer(post(first, "save_checkpoint"))["outcome"] == "done"
    assert second.process.poll() is None
    assert first.endpoint_file.exists()


# -- signals ------------------------------------------------------------------------------------------------------


def test_sigterm_is_a_save_and_a_stop_where_the_trainer_asks_for_it(train: Train) -> None:
    training = train(control={"on_sigterm": "save_and_stop"})

    training.kill(signal.SIGTERM)

    ended = training.ended()
    assert training.checkpoints == [f"checkpoint-{ended['step']}"]


def test_sigterm_is_left_alone_unless_it_was_asked_for(train: Train) -> None:
    training = train()

    training.kill(signal.SIGTERM)

    assert training.process.wait(timeout=30) == -signal.SIGTERM


def test_after_the_training_sigterm_ends_the_program_again(train: Train) -> None:
    training = train(linger=True, control={"on_sigterm": "save_and_stop"})
    training.kill(signal.SIGTERM)
    wait_until((training.folder / "lingering").exists, what="the end of the training")

    training.kill(signal.SIGTERM)

    assert training.process.wait(timeout=30) == -signal.SIGTERM


def test_sigterm_as_a_command_that_is_none_does_not_end_the_run(train: Train) -> None:
    training = train(control={"on_sigterm": "dance"})

    training.kill(signal.SIGTERM)

    wait_until(lambda: "no command 'dance'" in training.stderr, what="a warning")
    assert training.goes_on()


def test_sigusr1_prints_the_stacks_and_training_goes_on(train: Train) -> None:
    training = train()

    training.kill(signal.SIGUSR1)

    wait_until(lambda: "plain_loop.py" in training.stderr and "Thread" in training.stderr, what="the stacks")
    assert training.goes_on()


# -- control never fails a run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_loss_that_is_no_number_any_more_is_told_as_such(train: Train, loss: str) -> None:
    """JSON has no NaN; the moment it appears is the moment somebody looks."""
    training = train(loss=loss)

    answer = training.answer(post(training, "status"))

    assert answer["data"]["metrics"]["loss"] == loss
    assert json.loads(training.status_file.read_text())["metrics"] == {"loss": loss}


@pytest.mark.parametrize("home_is", ["a file", "below a file"])
def test_a_home_that_cannot_be_is_one_warning(train: Train, home: Path, home_is: str) -> None:
    home.parent.mkdir(exist_ok=True)
    home.write_text("in the way")
    environ = {"FORGATHER_HOME": str(home / "x")} if home_is == "below a file" else {}

    training = train(wait=False, environ=environ, control={"on_sigterm": "save_and_stop"})
    wait_until(lambda: training.stderr, what="a warning")
    training.hold()  # by then it listens to signals
    training.kill(signal.SIGTERM)
    training.let_go()

    assert training.ended()["step"] > 0
    assert training.stderr.count("\n") == 1 and "no trainer control" in training.stderr


def test_a_job_id_that_cannot_be_a_folder_is_one_warning(home: Path, tmp_path: Path) -> None:
    from forgather_spool.trainer import TrainerControl

    control = TrainerControl("../up", home=str(home))

    assert control.poll(1) is False
    control.close()
    assert not (home / "up").exists()


def test_the_mailbox_is_made_by_whoever_comes_first(train: Train, home: Path) -> None:
    """A command may be there before the trainer."""
    from forgather_spool.spool.queue import Spool

    mailbox = Mailbox(Spool(str(home)).create().paths, "run")
    command_id = mailbox.post("status", by="a test")

    training = train()

    assert training.answer(command_id)["outcome"] == "done"
    assert sorted(os.listdir(mailbox.folder)) == [f"{command_id}{ACK}", f"{command_id}.json"]


def test_an_answer_a_full_disk_refuses_is_given_when_there_is_room(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forgather_spool.errors import StorageFailed
    from forgather_spool.trainer import TrainerControl

    refusals = []
    acknowledge = Mailbox.acknowledge

    def full_at_first(mailbox: Mailbox, command_id: str, *args: object, **facts: object) -> bool:
        if command_id == "000001-dance" and len(refusals) < 2:
            refusals.append(command_id)
            raise StorageFailed("cannot write: No space left on device")
        return acknowledge(mailbox, command_id, *args, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(Mailbox, "acknowledge", full_at_first)

    with TrainerControl("run", home=str(home)):
        mailbox = Mailbox(Paths(str(home)), "run")
        ids = [mailbox.post("dance", by="a test"), mailbox.post("sing", by="a test")]

        for command_id in ids:
            wait_until(lambda: mailbox.acknowledgement(command_id), what=f"the answer to {command_id}")  # noqa: B023

    assert len(refusals) == 2
