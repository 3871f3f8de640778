"""A dispatcher that takes a card away from a job that runs, disturbed at each of its system calls in turn."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from forgather_spool.outcome import Cancelled
from forgather_spool.spool import attempts
from tests.fakes import nvml
from tests.story.world import HOST, World
from tests.sweep import ledger, strace, walk
from tests.waiting import wait_until

# The first attempt lasts until it is told to end.
VICTIM = f"{ledger.LINE}; [ $FORGATHER_ATTEMPT -gt 1 ] || exec sleep 1000"


@pytest.fixture(scope="module")
def one_card(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cards = nvml.FakeCards(tmp_path_factory.mktemp("cards") / "state", nvml.build(tmp_path_factory.mktemp("nvml")))
    cards.add()
    return cards.env()


def a_dispatcher_whose_only_card_is_wanted(world: World) -> list[str]:
    """The victim runs and its runner lives; the job of higher priority waits."""
    world.spool.open_host(HOST)
    victim = world.submit(VICTIM, gpus=1, preemptible=True)
    runner = [*walk.PYTHON, "-m", "tests.sweep.lone_runner", world.spool.paths.home, victim[1], nvml.FakeCards.uuid(0)]
    subprocess.Popen(runner, env=world.env, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_until(lambda: world.lines("ran") == [f"{victim[1]} 1"], 20, "the victim")
    wanting = world.submit(ledger.LINE, gpus=1, priority=5)
    (world.folder / "jobs").write_text(f"{victim[1]} {wanting[1]}")
    return walk.DISPATCHER


def the_card_changed_hands_once(world: World, done: strace.Disturbed) -> list[str]:
    """The victim ended because it was asked, said for whom, and ran again; each once.

    Not always last: where the launch of the other fails, the card is not kept idle until that is tried again.
    """
    victim, wanting = (world.folder / "jobs").read_text().split()
    ledger.recover(world)
    found = ledger.violations(world, {victim, wanting}, may_be=frozenset({Cancelled}))
    if sorted(world.lines("ran")) != sorted([f"{victim} 1", f"{wanting} 1", f"{victim} 2"]):
        found.append(f"ran: {world.lines('ran')}")
    elif attempts.again(world.spool.paths, victim, 2)["gave_way_to"] != wanting:
        found.append("the victim does not say for whom it gave way")
    return found


@pytest.mark.parametrize("effects", [walk.kill, walk.fail])
def test_the_victim_is_asked_and_comes_back_whatever_disturbs_who_asks(
    effects, one_card: dict[str, str], tmp_path: Path
) -> None:
    """Only at changes that no other sweep of a dispatcher meets; with `LONG` at every call."""
    done = walk.Walk(tmp_path, **one_card)
    points = done.points(a_dispatcher_whose_only_card_is_wanted, walk.a_dispatcher_with_everything_half_done)
    mine = [point for point in points if strace.LONG or (point.alike == 0 and not point.only_looks)]

    done.go(mine, effects, a_dispatcher_whose_only_card_is_wanted, the_card_changed_hands_once)

    assert not done.wrong, done.report
    assert any("preempt.json" in point.shape for point in mine)
    assert done.hits > 10
