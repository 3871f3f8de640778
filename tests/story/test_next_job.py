"""A runner that runs one job after the other, as one whose job has no cards may."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.cli.job.stopping import force_kill
from forgather_spool.dispatcher.running import MOST_OVER, Running
from forgather_spool.errors import StorageFailed
from forgather_spool.host import proc
from forgather_spool.host.process import ProcessHost
from forgather_spool.job import Result
from forgather_spool.outcome import Cancelled, Exited
from forgather_spool.runner.client import Hatched
from forgather_spool.spool import settings
from forgather_spool.spool.names import Entry
from tests.builders import BOOT_ID, HOST, a_claim
from tests.story.bench_of_runners import Bench, ended
from tests.story.world import World
from tests.waiting import wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.end()


def _one_after(bench: Bench, first: str, second: str) -> tuple[Result, Result]:
    """The results of two jobs of one runner."""
    entry, runner = bench.launch(first, keep=True)
    result = bench.result(entry)
    bench.nursery.take_back(runner.pid, runner.start_ticks)
    other, again = bench.launch(second, keep=True)
    assert again.pid == runner.pid
    return result, bench.result(other)


def test_a_runner_runs_the_next_job_in_its_own_surroundings(bench: Bench) -> None:
    """Nothing of the first is seen by the second: directory, environment, output, signals, descriptors."""
    says = "pwd; env | sort | grep -v FORGATHER; grep 'Sig[^Q]' /proc/self/status; ls /proc/self/fd; "
    (bench.folder / "elsewhere").mkdir()
    first, runner = bench.launch(says + "echo one", keep=True, env={"OF": "one"})
    bench.result(first)
    bench.nursery.take_back(runner.pid, runner.start_ticks)

    second, again = bench.launch(says + "echo two", keep=True, env={"OF": "two"})
    bench.result(second)

    assert again.pid == runner.pid
    assert bench.output(second) == bench.output(first).replace(b"OF=one", b"OF=two").replace(b"\none\n", b"\ntwo\n")


def test_each_result_counts_its_own_job_alone(bench: Bench) -> None:
    greedy = "python3 -c 'bytearray(60_000_000); sum(range(3_000_000))'; exit 3"

    first, second = _one_after(bench, greedy, "echo x; exit 4")

    assert (first.outcome, second.outcome) == (Exited(3), Exited(4))
    assert first.document["peak_memory_bytes"] > 60_000_000 > second.document["peak_memory_bytes"] > 0
    assert first.document["cpu_s"] > second.document["cpu_s"]
    assert (first.document["output_bytes"], second.document["output_bytes"]) == (0, 2)


def test_the_second_job_hears_a_request_to_stop(bench: Bench) -> None:
    first, runner = bench.launch(keep=True)
    bench.result(first)
    bench.nursery.take_back(runner.pid, runner.start_ticks)
    second, _ = bench.launch("echo up > up; exec sleep 600", keep=True)
    bench.wait_for("up")

    bench.spool.ask_to_stop(second[1], by="anna")

    assert isinstance(bench.result(second).outcome, Cancelled)


def test_a_dispatcher_gives_short_jobs_to_one_runner(world: World) -> None:
    """One at a time: the first runner is there for all, unless the machine is so busy that it waited in vain."""
    settings.change_dispatch(world.spool.paths, no_gpu_limit=1)
    entries = [world.submit(f"exit {code}") for code in range(6)]

    world.dispatch_all()

    assert [world.wait_done(entry).outcome for entry in entries] == [Exited(code) for code in range(6)]
    assert len({world.claim(entry).runner_pid for entry in entries}) < 6
    assert world.leftovers() == []
    assert wait_until(lambda: not world.our_processes())


def test_after_its_dispatcher_a_runner_waits_for_nothing(world: World) -> None:
    settings.change_dispatch(world.spool.paths, no_gpu_limit=1)
    entries = [world.submit("echo up >> up; while [ ! -e finish ]; do sleep 0.02; done") for _ in range(2)]
    dispatcher = world.dispatch()
    world.wait_for("up")
    dispatcher.kill()
    dispatcher.wait()

    (world.folder / "finish").touch()

    world.wait_done(entries[0])
    assert wait_until(lambda: not world.our_processes())
    world.dispatch_all()
    assert world.wait_done(entries[1]).outcome == Exited(0)
    assert world.lines("up") == ["up", "up"]


def _an_idle_runner(bench: Bench) -> Hatched:
    entry, runner = bench.launch(keep=True)
    bench.result(entry)
    return runner


def test_a_runner_says_that_its_job_is_over_before_the_result_is_on_disk(bench: Bench) -> None:
    tmp, aside = bench.spool.paths.tmp, f"{bench.spool.paths.tmp}.aside"
    entry, _ = bench.launch(f"mv {tmp} {aside}; exit 3")
    told: list[tuple[str, int]] = []

    wait_until(lambda: told.extend(bench.nursery.over()) or told)

    assert told == [(entry[1], 1)]
    assert not bench.spool.has_result(entry[1])
    os.rename(aside, tmp)
    assert bench.result(entry).outcome == Exited(3)


def test_the_next_job_starts_while_the_result_of_the_last_is_put_away(world: World) -> None:
    """The second makes room for the first one's end: had it to wait for that, neither would come."""
    settings.change_dispatch(world.spool.paths, no_gpu_limit=1)
    done = world.spool.paths.done
    first = world.submit(f"mv {done} {done}.aside; exit 3")
    second = world.submit(f"mv {done}.aside {done}; exit 4")

    world.dispatch_all()

    assert [world.wait_done(entry).outcome for entry in (first, second)] == [Exited(3), Exited(4)]


def test_a_job_with_cards_keeps_its_place_until_its_runner_has_gone() -> None:
    running = Running(ProcessHost())
    for name, cards in (("with", (0,)), ("without", ())):
        running.watch((0, name), a_claim((0, name), cards=cards))
        running.is_over(name, 1)
        running.is_over(name, 2)

    assert list(running.busy) == ["with"]
    assert list(running.claims) == ["with", "without"]
    running.close()


def test_a_disk_that_takes_results_slowly_gathers_few_runners() -> None:
    running = Running(ProcessHost())
    for number in range(2 * MOST_OVER):
        running.watch((0, str(number)), a_claim((0, str(number))))
        running.is_over(str(number), 1)

    assert len(running.busy) == MOST_OVER
    running.close()


def test_with_nothing_more_to_do_it_exits(bench: Bench) -> None:
    runner = _an_idle_runner(bench)
    bench.nursery.take_back(runner.pid, runner.start_ticks)

    bench.nursery.let_go()

    wait_until(lambda: ended(runner))
    assert bench.outcome("exit 6") == Exited(6)


def test_a_runner_that_nobody_takes_back_exits_by_itself(bench: Bench) -> None:
    """A dispatcher that has not heard of the end hears of this one; it must not wait for ever."""
    runner = _an_idle_runner(bench)

    wait_until(lambda: ended(runner))

    bench.nursery.take_back(runner.pid, runner.start_ticks)
    assert bench.outcome("exit 6") == Exited(6)


def test_told_to_end_between_two_jobs_it_runs_no_other(bench: Bench) -> None:
    runner = _an_idle_runner(bench)
    os.kill(runner.pid, signal.SIGTERM)

    wait_until(lambda: ended(runner))

    bench.nursery.take_back(runner.pid, runner.start_ticks)
    assert bench.outcome("exit 6") == Exited(6)


def test_a_runner_of_a_job_that_may_be_run_again_exits(bench: Bench) -> None:
    """The next attempt begins when the runner of this one has gone."""
    entry, runner = bench.launch("exit 7", keep=True, retries=1)

    wait_until(lambda: ended(runner))

    assert bench.spool.has_result(entry[1])
    assert entry in bench.spool.taken(HOST)


def test_a_runner_that_finds_its_claim_withdrawn_runs_no_other(bench: Bench) -> None:
    entry = bench.take("touch ran")
    runner = bench.hatch(entry)
    bench.spool.withdraw_claim(entry[1], 1)

    bench.nursery.go(runner, keep=True)

    wait_until(lambda: ended(runner))
    assert not (bench.folder / "ran").exists()


def test_a_forced_kill_of_a_job_that_has_just_ended_spares_the_next_of_its_runner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the disk full the kill comes from the command, and the job looked at may end in between."""
    first, runner = bench.launch("echo up > first; while [ ! -e finish ]; do sleep 0.02; done", keep=True)
    bench.wait_for("first")
    others: list[Entry] = []
    truly_alive = proc.is_alive

    def full(*_: object, **__: object) -> None:
        raise StorageFailed("cannot write x: No space left on device")

    def is_alive(pid: int, start_ticks: int) -> bool:
        monkeypatch.setattr("forgather_spool.host.proc.is_alive", truly_alive)
        (bench.folder / "finish").touch()
        bench.result(first)
        bench.nursery.take_back(runner.pid, runner.start_ticks)
        others.append(bench.launch("echo up > second; exec sleep 600", keep=True)[0])
        bench.wait_for("second")
        return truly_alive(pid, start_ticks)

    monkeypatch.setenv("FORGATHER_HOST", HOST)
    monkeypatch.setattr("forgather_spool.host.proc.boot_id", lambda: BOOT_ID)
    monkeypatch.setattr("forgather_spool.cli.job.stopping.stop", full)
    monkeypatch.setattr("forgather_spool.host.proc.is_alive", is_alive)

    with pytest.raises(StorageFailed, match="No space"):
        force_kill(bench.spool, first[1], "me")

    monkeypatch.undo()
    assert proc.is_alive(runner.pid, runner.start_ticks)
    bench.spool.ask_to_stop(others[0][1], by="anna")
    assert isinstance(bench.result(others[0]).outcome, Cancelled)
