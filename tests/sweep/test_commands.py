"""`submit`, `sched cancel` and `sched pause`, killed or refused by the kernel at each of their system calls in turn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from forgather_spool.errors import Busy
from forgather_spool.outcome import Cancelled
from forgather_spool.spool import order, settings, unique
from forgather_spool.spool.place import locate
from forgather_spool.spool.remove import remove
from forgather_spool.spool.stop import stop
from tests.story.world import World
from tests.sweep import ledger, scenes, strace, walk

EFFECTS = pytest.mark.parametrize("effects", [walk.kill, walk.fail])


def into_a_new_home(world: World) -> list[str]:
    """The first submit of all: it makes the spool."""
    shutil.rmtree(world.spool.paths.home)
    return [*walk.FORGATHER, "submit", "--cwd", str(world.folder), "--", "sh", "-c", ledger.LINE]


def into_a_spool_that_stands(world: World) -> list[str]:
    return [*walk.FORGATHER, "submit", "--cwd", str(world.folder), "--", "sh", "-c", ledger.LINE]


def submitted_or_not(world: World, done: strace.Disturbed) -> list[str]:
    """Acknowledged is there; refused is not there; nothing in between."""
    world.spool.create()
    there = {job_id for _, job_id in world.spool.waiting()}
    acknowledged = set(done.stdout.split()[1:2])
    found = [] if acknowledged <= there else [f"{acknowledged} was acknowledged and is not there"]
    if done.returncode > 0 and not all(f"is queued as {job_id}" in done.stderr for job_id in there):
        found.append(f"it said no ({done.stderr!r}), and {there} is there: submitting again runs it twice")
    if done.returncode == 0 and len(there) != 1:
        found.append(f"it succeeded, and there are {len(there)} jobs")
    ledger.recover(world)
    return found + ledger.violations(world, acknowledged)


@EFFECTS
@pytest.mark.parametrize("where", [into_a_new_home, into_a_spool_that_stands])
def test_a_submit_is_whole_or_never_was_and_what_it_acknowledged_runs_once(where, effects, tmp_path: Path) -> None:
    walk.everywhere(tmp_path, effects, where, submitted_or_not, more_than=5)


def with_a_key(world: World) -> list[str]:
    """The key is that of a job that is gone, so it is taken from it."""
    earlier = unique.submit(world.spool, {"argv": ["true"], "unique": "k"})
    stop(world.spool, earlier, "anna")
    remove(world.spool, locate(world.spool, earlier))
    words = ["submit", "--unique", "k", "--cwd", str(world.folder)]
    return [*walk.FORGATHER, *words, "--", "sh", "-c", ledger.LINE]


def submitted_or_not_and_the_key_is_free(world: World, done: strace.Disturbed) -> list[str]:
    found = submitted_or_not(world, done)
    try:
        unique.submit(world.spool, {"argv": ["true"], "unique": "k"})
    except Busy as error:
        found.append(f"all jobs have ended, and {error}")
    return found


@EFFECTS
def test_a_submit_with_a_key_is_whole_or_never_was_and_never_blocks_the_key(effects, tmp_path: Path) -> None:
    walk.everywhere(tmp_path, effects, with_a_key, submitted_or_not_and_the_key_is_free, more_than=5)


def a_cancel(world: World) -> list[str]:
    _, job_id = scenes.submitted(world)
    (world.folder / "jobs").write_text(job_id)
    return [*walk.FORGATHER, "sched", "cancel", job_id]


def cancelled_or_run(world: World, done: strace.Disturbed) -> list[str]:
    """One of the two, and what was said to be cancelled never runs."""
    jobs = scenes.job_ids(world)
    ledger.recover(world)
    found = ledger.violations(world, jobs, may_be=frozenset({Cancelled}))
    if done.returncode == 0 and world.lines("ran"):
        found.append(f"it said {done.stdout!r}, and the job ran")
    return found


@EFFECTS
def test_a_cancel_leaves_a_job_that_is_cancelled_or_runs(effects, tmp_path: Path) -> None:
    walk.everywhere(tmp_path, effects, a_cancel, cancelled_or_run, more_than=5)


def a_hold(world: World) -> list[str]:
    _, job_id = scenes.submitted(world)
    (world.folder / "jobs").write_text(job_id)
    return [*walk.FORGATHER, "sched", "hold", job_id]


def held_or_run(world: World, done: strace.Disturbed) -> list[str]:
    """One of the two; and once released it runs."""
    ledger.recover(world)
    found = []
    if done.returncode == 0 and (world.lines("ran") or not world.spool.held()):
        found.append(f"it said {done.stdout!r}, and the job ran or is not on hold")
    order.release(world.spool, world.spool.held())
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


def a_release(world: World) -> list[str]:
    words = a_hold(world)
    order.hold(world.spool, world.spool.waiting())
    return [*words[:-2], "release", words[-1]]


def released_or_held(world: World, done: strace.Disturbed) -> list[str]:
    ledger.recover(world)
    found = []
    if done.returncode == 0 and not world.lines("ran"):
        found.append(f"it said {done.stdout!r}, and the job did not run")
    order.release(world.spool, world.spool.held())
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


def a_reprioritize(world: World) -> list[str]:
    return [*a_hold(world)[:-2], "reprioritize", "--priority", "7", (world.folder / "jobs").read_text()]


def old_or_new(world: World, done: strace.Disturbed) -> list[str]:
    found = (
        [f"it said {done.stdout!r}, and it is not so"]
        if done.returncode == 0 and world.spool.waiting()[0][0] != -7
        else []
    )
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


@EFFECTS
@pytest.mark.parametrize(
    ("act", "judge"), [(a_reprioritize, old_or_new), (a_hold, held_or_run), (a_release, released_or_held)]
)
def test_a_job_is_where_it_was_or_where_it_was_sent_and_never_both_or_neither(
    act, judge, effects, tmp_path: Path
) -> None:
    walk.everywhere(tmp_path, effects, act, judge, more_than=2)


def an_edit(world: World) -> list[str]:
    return [*a_hold(world)[:-2], "edit", (world.folder / "jobs").read_text()]


def old_or_edited(world: World, done: strace.Disturbed) -> list[str]:
    found = []
    if done.returncode == 0 and [minus for minus, _ in world.spool.waiting()] != [-7]:
        found.append(f"it said {done.stdout!r}, and it is not so")
    order.release(world.spool, world.spool.held())
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


@EFFECTS
def test_an_edited_job_is_the_old_or_the_new_one_and_runs_once(effects, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path, EDITOR="""sed -i 's/"priority": 0/"priority": 7/'""")

    done.go(done.points(an_edit), effects, an_edit, old_or_edited)

    assert not done.wrong, done.report
    assert done.hits > 5


def a_pause(world: World) -> list[str]:
    _, job_id = scenes.submitted(world)
    (world.folder / "jobs").write_text(job_id)
    return [*walk.FORGATHER, "sched", "pause"]


def paused_or_not(world: World, done: strace.Disturbed) -> list[str]:
    """The setting is the old or the new one, can be changed again, and the job then runs."""
    paused = settings.dispatch(world.spool.paths)["paused"]
    found = [f"it said {done.stdout!r}, and paused is {paused}"] if done.returncode == 0 and not paused else []
    settings.change_dispatch(world.spool.paths, paused=False)
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


@EFFECTS
def test_a_pause_is_set_or_not_and_never_torn(effects, tmp_path: Path) -> None:
    walk.everywhere(tmp_path, effects, a_pause, paused_or_not, more_than=5)
