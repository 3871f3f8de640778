"""A job from the queue to its result, on real processes without a user manager."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from forgather_spool.dispatcher import wake
from forgather_spool.dispatcher.loop import Dispatcher
from forgather_spool.gpu import CardPolicy, GpuPolicy
from forgather_spool.host import proc
from forgather_spool.host.process import ProcessHost
from forgather_spool.outcome import Cancelled, Exited, Killed, Lost, Refused, TimedOut
from forgather_spool.spool import files, settings
from tests import builders
from tests.story.world import HOST, World
from tests.waiting import wait_until


def test_a_job_runs_and_leaves_its_output_and_its_result(world: World):
    """The whole way; and when nothing is left to do, no process of ours is."""
    entry = world.submit("echo hello; exit 3")

    world.dispatch_all()

    result = world.wait_done(entry)
    assert result.outcome == Exited(3)
    assert world.output(entry) == "hello\n"
    assert world.leftovers() == []
    assert wait_until(lambda: not world.our_processes())


@pytest.mark.parametrize("what", ["its program is opened", "it opens the dispatcher's lock"])
def test_a_submit_is_heard_of_before_its_job_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
):
    """By the kernel, before there is an interpreter; and as its first act. The host makes ready meanwhile."""
    program = tmp_path / "checkout/bin/forgather"  # not the real one, which other tests open
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setattr(wake, "__file__", f"{tmp_path}/checkout/forgather_spool/dispatcher/wake.py")
    monkeypatch.setenv("FORGATHER_HOST", HOST)
    expected: list[str] = []
    host = ProcessHost()
    monkeypatch.setattr(host, "expect", lambda: expected.append("a job"))
    with open(world.spool.paths.host_lock(HOST), "w"):
        pass
    dispatcher = Dispatcher(world.spool, host, HOST, lambda line: None)
    dispatcher.begin()

    if what == "its program is opened":
        subprocess.run([program], check=True)
    else:
        wake.announce(world.spool.paths)
    dispatcher.step()
    dispatcher.close()

    assert expected and set(expected) == {"a job"}


def test_jobs_start_by_priority_and_then_in_the_order_of_submitting(world: World):
    settings.change_dispatch(world.spool.paths, no_gpu_limit=1)
    for name, priority in (("first", 0), ("low", -1), ("second", 0), ("high", 9)):
        world.submit(f"echo {name} >> order", priority=priority)

    world.dispatch_all()

    assert world.lines("order") == ["high", "first", "second", "low"]


def test_a_job_outlives_its_dispatcher(world: World):
    """Killed without warning, the dispatcher takes nothing with it, and no result is lost."""
    entry = world.submit("echo up > up; while [ ! -e go ]; do sleep 0.05; done; exit 5")
    dispatcher = world.dispatch()
    world.wait_for("up")

    dispatcher.kill()
    dispatcher.wait()
    (world.folder / "go").touch()

    assert world.wait_done(entry).outcome == Exited(5)
    assert world.lines("up") == ["up"]


def test_a_new_dispatcher_takes_over_running_jobs(world: World):
    """It watches them, and does not start them again."""
    entry = world.submit("echo up >> up; while [ ! -e go ]; do sleep 0.05; done")
    first = world.dispatch()
    world.wait_for("up")
    first.kill()
    first.wait()

    second = world.dispatch()
    other = world.submit("echo other > other")
    world.wait_for("other")
    (world.folder / "go").touch()

    assert second.wait(timeout=30) == 0
    assert world.wait_done(entry).outcome == Exited(0)
    assert world.wait_done(other).outcome == Exited(0)
    assert world.lines("up") == ["up"]


def test_a_killed_runner_is_a_lost_job_and_its_command_does_not_run_on(world: World):
    """What nobody watches any more is stopped before the job is called lost."""
    entry = world.submit("echo $$ > pid; exec sleep 1000")
    world.dispatch()
    command_pid = int(world.wait_for("pid"))

    os.kill(world.claim(entry).runner_pid, signal.SIGKILL)

    assert world.wait_done(entry).outcome == Lost("its runner ended without leaving a result")
    assert command_pid not in world.our_processes()


def test_after_a_restart_of_the_machine_running_jobs_are_lost_and_waiting_ones_run(world: World):
    """Another boot id: every process of then has ended, whatever its number is now."""
    ran, launched, waiting = world.submit(), world.submit("echo x >> ran"), world.submit("echo y >> ran")
    world.spool.open_host(HOST)
    for entry in (ran, launched):
        world.spool.claim(entry, HOST)
        claim = {
            "version": 1, "attempt": 1, "host": HOST, "host_kind": "process", "boot_id": "another", "gpus": [],
            "scope": f"forgather-job-{entry[1]}-1.scope", "priority": 0, "claimed_at": "2026-01-01T00:00:00Z",
            "runner": {"pid": os.getpid(), "start_ticks": proc.start_ticks(os.getpid())},
        }  # fmt: skip
        world.spool.write_claim(entry[1], claim)
    world.spool.start(ran[1])

    world.dispatch_all()

    assert world.wait_done(ran).outcome == Lost("the machine was restarted while it ran")
    assert world.wait_done(launched).outcome == Exited(0)
    assert world.wait_done(waiting).outcome == Exited(0)
    assert sorted(world.lines("ran")) == ["x", "y"]


def test_a_job_that_started_is_never_started_again_even_if_its_claim_came_undone(world: World):
    """A power cut may undo the rename out of queue/, not the start."""
    entry = world.submit("echo ran >> ran")
    files.make_directory(world.spool.paths.job(entry[1]))
    Path(world.spool.paths.started(entry[1], 1)).write_text("{}")

    world.dispatch_all()

    assert isinstance(world.wait_done(entry).outcome, Lost)
    assert world.lines("ran") == []


def test_a_running_job_stops_when_asked_and_says_who_asked(world: World):
    entry = world.submit("echo up > up; exec sleep 1000")
    world.dispatch()
    world.wait_for("up")

    world.spool.ask_to_stop(entry[1], by="anna")

    assert world.wait_done(entry).outcome == Cancelled("anna")


def test_a_time_limit_stops_the_job(world: World):
    entry = world.submit("exec sleep 1000", time_limit_s=0.3, grace_s=1)

    world.dispatch_all()

    assert world.wait_done(entry).outcome == TimedOut(0.3)


def test_a_signal_from_elsewhere_is_the_outcome(world: World):
    entry = world.submit("kill -SEGV $$")

    world.dispatch_all()

    assert world.wait_done(entry).outcome == Killed(signal.SIGSEGV)


def test_pause_outlives_the_dispatcher_and_resume_wakes_it(world: World):
    entry = world.submit("echo ran > ran")
    settings.change_dispatch(world.spool.paths, paused=True)
    first = world.dispatch()
    wait_until(lambda: "awake" in world.said())
    first.kill()
    first.wait()
    world.dispatch()
    wait_until(lambda: world.said().count("awake") == 2)
    assert world.lines("ran") == []

    settings.change_dispatch(world.spool.paths, paused=False)

    assert world.wait_done(entry).outcome == Exited(0)


def test_a_dropped_file_runs_and_a_poisoned_one_does_not_hold_it_up(world: World):
    world.dispatch(FORGATHER_IDLE_S="30")
    wait_until(lambda: "awake" in world.said())
    good = json.dumps({"argv": ["touch", f"{world.folder}/ran"]})
    for name, text in (("bad", '{"argv": "no list"}'), ("good", good)):
        partial = Path(world.spool.paths.incoming, f".{name}")
        partial.write_text(text)
        partial.rename(partial.with_name(f"{name}.json"))

    wait_until((world.folder / "ran").exists, what=world.said())
    wait_until(Path(world.spool.paths.rejected, "bad.json.why").exists)


POISONED_SPECS = (
    b"",
    b'{"argv": ["true"]',
    b'{"argv": ["true"], "argv": ["false"]}',
    b'{"argv": ["\\u0000"]}',
    b'{"argv": ["\\ud800"]}',
    b'{"argv": ["true"], "time_limit_s": NaN}',
    b'{"argv": ["true"], "gpus": true}',
    b'{"argv": ["true"], "version": 2}',
    b'{"argv": ["true"], "begin_at": "9999-12-31T23:59:59-14:00"}',
    b'{"argv": ["true"], "begin_at": "0001-01-01T00:00:00+14:00"}',
    b'{"argv": ["' + b"x" * (1 << 20) + b'"]}',
)


def test_poison_in_every_folder_is_set_aside_and_the_others_run(world: World):
    """Each of these has stopped some dispatcher somewhere."""
    paths = world.spool.paths
    world.spool.open_host(HOST)
    good = [world.submit(f"echo {n} >> ran") for n in range(100)]
    for n, poison in enumerate(POISONED_SPECS):
        Path(f"{paths.queue}/q_1738012412345_dddddd{n:02}.p0.json").write_bytes(poison)
    for folder in (paths.held, paths.batches, paths.unique, paths.done, paths.running_on("@cancel")):
        os.makedirs(f"{folder}/garbage", exist_ok=True)
        Path(f"{folder}/garbage.json").write_bytes(b"\xff" * 10)
        os.mkfifo(f"{folder}/fifo.json")
    unreadable = world.submit("echo never >> ran")
    Path(paths.queued(unreadable[1], 0)).write_bytes(b"[" * 100_000)
    os.mkfifo(f"{paths.queue}/q_1738012412345_aaaaaaaa.p0.json")
    os.symlink("/dev/zero", f"{paths.queue}/q_1738012412345_bbbbbbbb.p0.json")
    os.mkdir(f"{paths.queue}/q_1738012412345_cccccccc.p0.json")
    Path(f"{paths.queue}/notes.txt").write_text("mine")
    Path(f"{paths.running_on(HOST)}/strange.json").write_text("{}")
    damaged = world.submit("echo again >> ran")
    world.spool.claim(damaged, HOST)
    Path(paths.claim(damaged[1], 1)).write_bytes(b"\xff\xfe")
    os.mkfifo(f"{paths.incoming}/fifo.json")
    after_none = world.submit("echo never >> ran", after=[{"job": "prepare", "when": "any"}])
    Path(f"{paths.tmp}/garbage").mkdir()
    Path(f"{paths.jobs}/garbage").write_text("garbage")
    Path(f"{paths.hosts}/{HOST}.json").write_text("garbage")

    world.dispatch_all()

    assert all(world.wait_done(entry).outcome == Exited(0) for entry in [*good, damaged])
    assert sorted(world.lines("ran")) == sorted([*map(str, range(100)), "again"])
    assert isinstance(world.wait_done(after_none).outcome, Refused)
    rejected = {name for name in os.listdir(paths.rejected) if not name.endswith(".why")}
    assert len(rejected) == 7 + len(POISONED_SPECS), rejected
    assert all(Path(paths.rejected, f"{name}.why").read_text() for name in rejected)


def test_the_second_dispatcher_of_a_host_leaves(world: World):
    world.dispatch(FORGATHER_IDLE_S="30")
    wait_until(lambda: "awake" in world.said())

    assert world.dispatch().wait(timeout=30) == 0


def test_asked_to_leave_it_leaves_its_jobs_alone(world: World):
    entry = world.submit("echo up > up; while [ ! -e go ]; do sleep 0.05; done")
    dispatcher = world.dispatch()
    world.wait_for("up")

    dispatcher.terminate()

    assert dispatcher.wait(timeout=30) == 0
    (world.folder / "go").touch()
    assert world.wait_done(entry).outcome == Exited(0)


@pytest.mark.parametrize("content", [b"", b"\x00garbage", b'{"version": 1, "attem'])
def test_a_result_that_cannot_be_read_is_none(world: World, content: bytes):
    """The power was cut while it was written: one that had started is lost, another runs."""
    world.spool.open_host(HOST)
    had_started, had_not = world.submit("true"), world.submit("true")
    for entry in (had_started, had_not):
        world.spool.claim(entry, HOST)
        Path(world.spool.paths.result(entry[1], 1)).write_bytes(content)
    world.spool.write_claim(had_started[1], builders.a_claim(had_started).as_document())
    assert world.spool.start(had_started[1])

    world.dispatch_all()

    assert isinstance(world.wait_done(had_started).outcome, Lost)
    assert world.wait_done(had_not).outcome == Exited(0)


@pytest.mark.parametrize("how_many", [2])
def test_jobs_get_cards_of_their_own(world: World, cards, how_many):
    """By UUID, and the third waits until one of the two is free."""
    cards.add()
    cards.add()
    line = "echo $CUDA_VISIBLE_DEVICES > {name}; while [ ! -e go-{name} ]; do sleep 0.05; done"
    a, b, c = (world.submit(line.format(name=name), gpus=1) for name in "abc")
    world.dispatch(**cards.env())

    held = {world.wait_for("a").strip(), world.wait_for("b").strip()}
    assert held == {cards.uuid(0), cards.uuid(1)}
    assert not (world.folder / "c").exists()
    (world.folder / "go-a").touch()
    (world.folder / "go-c").touch()

    assert world.wait_done(c).outcome == Exited(0)
    assert world.claim(c).gpus == world.claim(a).gpus
    (world.folder / "go-b").touch()
    assert world.wait_done(b).outcome == Exited(0)


def test_a_job_without_cards_sees_none(world: World, cards):
    cards.add()
    entry = world.submit('echo "[$CUDA_VISIBLE_DEVICES]"', env={"CUDA_VISIBLE_DEVICES": "0"})

    world.dispatch_all(**cards.env())

    assert world.output(entry) == "[]\n"


def test_a_card_another_program_computes_on_is_left_alone(world: World, cards):
    cards.add()
    cards.process(0, os.getpid())
    entry = world.submit("true", gpus=1)
    world.dispatch(**cards.env())
    other = world.submit("true")
    assert world.wait_done(other)
    assert world.spool.waiting() == [entry]

    cards.end_processes(0)

    assert world.wait_done(entry).outcome == Exited(0)


def test_policy_keeps_cards_back_and_a_damaged_policy_keeps_all_back(world: World, cards):
    """An unreadable policy is never an empty one: jobs that need no card run on."""
    cards.add()
    settings.change_gpu_policy(world.spool.paths, lambda _: GpuPolicy(cards={"0": CardPolicy(min_priority=5)}))
    low, high = world.submit("true", gpus=1), world.submit("true", gpus=1, priority=5)
    world.dispatch(**cards.env())
    world.wait_done(high)
    Path(world.spool.paths.gpu_policy).write_text("{")
    starved, free = world.submit("true", gpus=1, priority=9), world.submit("true")
    world.wait_done(free)

    assert world.spool.waiting() == sorted([starved, low])


def test_without_nvml_jobs_that_need_no_card_run(world: World):
    wants, needs_none = world.submit("true", gpus=1), world.submit("true")
    world.dispatch()

    world.wait_done(needs_none)

    assert world.spool.waiting() == [wants]


def test_a_card_is_not_given_away_while_a_stopped_job_still_runs(world: World, cards):
    """Being asked to stop frees nothing: a trainer that saves first still holds its memory."""
    cards.add()
    line = "trap 'echo saving > saving; while [ ! -e saved ]; do sleep 0.05; done; rm -f held; exit 0' TERM"
    stopped = world.submit(f"{line}; touch held; echo up > up; while :; do sleep 0.05; done", gpus=1, grace_s=60)
    world.dispatch(**cards.env())
    world.wait_for("up")
    heir = world.submit("[ -e held ] && echo taken > taken; true", gpus=1)

    world.spool.ask_to_stop(stopped[1], by="anna")
    world.wait_for("saving")
    other = world.submit("true")  # by the time this one is done, the waiting one has been thought of
    world.wait_done(other)
    (world.folder / "saved").touch()

    assert world.wait_done(heir).outcome == Exited(0)
    assert world.lines("taken") == []
