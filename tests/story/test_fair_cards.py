"""Cards that are shared, and cards that are kept: with real jobs on a fake driver's cards."""

from __future__ import annotations

import os

from forgather_spool.outcome import Exited
from forgather_spool.spool import settings
from tests.story.world import World
from tests.waiting import wait_until

UNTIL_TOLD = "touch up-{name}; while [ ! -e go-{name} ]; do sleep 0.05; done"


def held_until_told(world: World, name: str, **spec: object):
    return world.submit(UNTIL_TOLD.format(name=name), name=name, gpus=spec.pop("gpus", 1), **spec)


def is_up(world: World, name: str) -> bool:
    return (world.folder / f"up-{name}").exists()


def let_go(world: World, *names: str) -> None:
    for name in names:
        (world.folder / f"go-{name}").touch()


def test_two_jobs_share_a_card_and_a_third_that_wants_it_whole_waits(world: World, cards):
    cards.add()
    a, b = (held_until_told(world, name, shared=True, gpu_memory_bytes=1 << 30) for name in "ab")
    world.dispatch(**cards.env())
    wait_until(lambda: is_up(world, "a") and is_up(world, "b"), 30, world.said())

    whole = world.submit("true", gpus=1)
    sharing = world.submit("true", gpus=1, shared=True, gpu_memory_bytes=1 << 30)

    assert world.wait_done(sharing).outcome == Exited(0)
    assert world.spool.waiting() == [whole]
    let_go(world, "a", "b")
    assert world.wait_done(whole).outcome == Exited(0)
    assert world.claim(a).gpus == world.claim(b).gpus
    assert world.claim(a).terms.shares


def test_by_number_no_more_jobs_are_on_a_card_than_each_said(world: World, cards):
    cards.add()
    line = "touch in-$$; ls in-* | wc -l >> counts; sleep 0.1; rm in-$$"
    entries = [world.submit(line, gpus=1, jobs_per_gpu=2) for _ in range(5)]
    world.dispatch(**cards.env())

    for entry in entries:
        assert world.wait_done(entry).outcome == Exited(0)

    assert max(int(count) for count in world.lines("counts")) <= 2


def test_a_wide_job_that_waited_gets_the_cards_as_they_come_free(world: World, cards):
    """A stream of small ones would starve it: none of them gets the card that is free meanwhile."""
    cards.add()
    cards.add()
    settings.change_dispatch(world.spool.paths, reserve_after_s=0)
    held_until_told(world, "first")
    world.dispatch(**cards.env())
    wait_until(lambda: is_up(world, "first"), 30, world.said())
    wide = world.submit("echo wide >> order", gpus=2)
    small = world.submit("echo small >> order", gpus=1)
    short = world.submit("echo short >> order", gpus=1, time_limit_s=1)
    world.wait_done(world.submit("true"))  # by now the others have been thought of

    assert world.spool.waiting() == sorted([wide, small, short])
    let_go(world, "first")

    assert world.wait_done(small).outcome == Exited(0)
    assert world.lines("order")[0] == "wide"


def test_what_ends_in_time_fills_the_gap(world: World, cards):
    cards.add()
    cards.add()
    settings.change_dispatch(world.spool.paths, reserve_after_s=0)
    held_until_told(world, "first", time_limit_s=600)
    world.dispatch(**cards.env())
    wait_until(lambda: is_up(world, "first"), 30, world.said())
    wide, endless = world.submit("true", gpus=2), world.submit("true", gpus=1)

    short = world.submit("true", gpus=1, time_limit_s=60)

    assert world.wait_done(short).outcome == Exited(0)
    assert world.spool.waiting() == sorted([wide, endless])
    let_go(world, "first")
    assert world.wait_done(wide).outcome == world.wait_done(endless).outcome == Exited(0)


def test_a_desktop_that_computes_a_little_does_not_keep_a_job_from_its_card(world: World, cards):
    cards.add()
    cards.process(0, os.getpid(), memory_used_bytes=200 << 20)

    entry = world.submit("true", gpus=1)
    world.dispatch(**cards.env())

    assert world.wait_done(entry).outcome == Exited(0)


def test_who_looks_from_outside_is_told_which_cards_are_in_the_way(world: World, cards):
    """The list and `why` read the cards themselves, and mark those the dispatcher published as excluded."""
    cards.add()
    cards.add()
    world.env |= cards.env()
    first = held_until_told(world, "first")
    world.dispatch(CUDA_VISIBLE_DEVICES="0")
    wait_until(lambda: is_up(world, "first"), 30, world.said())
    waiting = world.submit("true", gpus=1)

    listed, why = world.forgather("sched", "list"), world.forgather("sched", "why", waiting[1])

    assert (listed.returncode, why.returncode) == (0, 0), listed.stderr + why.stderr
    assert "waits for 1 card: none of" in listed.stdout
    assert f"card 0: job {first[1]}" in why.stdout
    assert "card 1: excluded" in why.stdout
    let_go(world, "first")
    assert world.wait_done(waiting).outcome == Exited(0)
