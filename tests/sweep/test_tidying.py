"""Removing ended jobs and taking snapshots, killed or refused by the kernel at each system call in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from forgather_spool.snapshot import sweep
from forgather_spool.spool import settings
from forgather_spool.spool.ended import Ended, ended_places
from forgather_spool.spool.place import locate
from forgather_spool.spool.remove import remove
from tests import builders
from tests.story.world import HOST, World
from tests.sweep import ledger, scenes, strace, walk

EFFECTS = pytest.mark.parametrize("effects", [walk.kill, walk.fail])


def one_ended_and_one_that_waits(world: World) -> list[str]:
    ended = [builders.ended(world.spool, output=b"x")]
    waits = scenes.submitted(world)
    (world.folder / "ended").write_text("\n".join(entry[1] for entry in ended))
    (world.folder / "jobs").write_text(waits[1])
    return [*walk.FORGATHER, "sched", "cleanup", "--yes"]


def each_job_is_whole_or_gone(world: World, done: strace.Disturbed) -> list[str]:
    """The next cleanup leaves no trace of any, and the one that waits runs once."""
    spool, found = world.spool, []
    for job_id in (world.folder / "ended").read_text().split():
        if _is_half_there(world, job_id):
            found.append(f"{job_id} is listed, and part of it is gone")
    if done.returncode == 0 and os.listdir(spool.paths.jobs):
        found.append("it succeeded and left something")
    again = world.forgather("sched", "cleanup", "--yes")
    if again.returncode or os.listdir(spool.paths.jobs) or any(map(os.listdir, _days(world))):
        found.append(f"the next cleanup leaves {os.listdir(spool.paths.jobs)}: {again.stderr}")
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


def _is_half_there(world: World, job_id: str) -> bool:
    paths = world.spool.paths
    is_whole = all(map(os.path.exists, (paths.result(job_id, 1), paths.output(job_id, 1))))
    return isinstance(locate(world.spool, job_id), Ended) and not is_whole


def _days(world: World) -> list[Path]:
    return list(Path(world.spool.paths.done).iterdir())


@EFFECTS
def test_a_cleanup_removes_a_job_whole_or_not_at_all_and_the_next_finishes_it(effects, tmp_path: Path) -> None:
    walk.everywhere(tmp_path, effects, one_ended_and_one_that_waits, each_job_is_whole_or_gone, more_than=5)


def a_dispatcher_that_may_keep_one_job(world: World) -> list[str]:
    """Three have ended, nothing is to be done."""
    world.spool.open_host(HOST)
    ended = [builders.ended(world.spool, output=b"x") for _ in range(3)]
    settings.change_dispatch(world.spool.paths, retention={"keep": 1})
    (world.folder / "ended").write_text("\n".join(entry[1] for entry in ended))
    return walk.DISPATCHER


def the_latest_is_whole_and_the_others_are_gone(world: World, done: strace.Disturbed) -> list[str]:
    """None is half there at any time, and the next dispatcher leaves no trace of those that were to go."""
    spool, (*old, latest) = world.spool, (world.folder / "ended").read_text().split()
    found = [f"{job_id} is listed, and part of it is gone" for job_id in old if _is_half_there(world, job_id)]
    ledger.recover(world)
    if not isinstance(locate(spool, latest), Ended) or _is_half_there(world, latest):
        found.append("the latest is gone, or part of it")
    left = set(os.listdir(spool.paths.jobs)) | {name for day in _days(world) for name in os.listdir(day)}
    if left != {latest, f"{latest}.json"}:
        found.append(f"left: {left}")
    return found


@EFFECTS
def test_an_idle_dispatcher_removes_what_is_not_kept_whole_or_not_at_all(effects, tmp_path: Path) -> None:
    """Only at changes that no other sweep of a dispatcher meets; with `LONG` at every call."""
    done = walk.Walk(tmp_path)
    points = done.points(a_dispatcher_that_may_keep_one_job, walk.a_dispatcher_with_everything_half_done)
    mine = [point for point in points if strace.LONG or (point.alike == 0 and not point.only_looks)]

    done.go(mine, effects, a_dispatcher_that_may_keep_one_job, the_latest_is_whole_and_the_others_are_gone)

    assert not done.wrong, done.report
    assert any("removed.json" in point.shape for point in mine)
    assert done.hits > 5


def a_submit_with_a_snapshot(world: World) -> list[str]:
    """Of a repository with a change and a new file."""
    folder = world.folder / "project"
    folder.mkdir()
    git = ["git", "-c", "user.name=anna", "-c", "user.email=anna@localhost"]
    subprocess.run([*git, "init", "-q"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=folder, check=True)
    (folder / "new").write_text(f"cd {world.folder}\n{ledger.LINE}\n")
    return [*walk.FORGATHER, "submit", "--snapshot", "--cwd", str(folder), "--", "sh", "new"]


def it_is_whole_or_never_was(world: World, done: strace.Disturbed) -> list[str]:
    """What was acknowledged runs the snapshot once; of what was not, the sweep finds every ref."""
    acknowledged = set(done.stdout.split()[1:2])
    (world.folder / "project" / "new").write_text("exit 9")
    ledger.recover(world)
    found = ledger.violations(world, acknowledged)
    for place in ended_places(world.spool):
        remove(world.spool, place)
    sweep.sweep_worktrees(world.spool)
    sweep.sweep_refs(world.spool)
    refs = ["git", "for-each-ref", "refs/forgather/"]
    left = subprocess.run(refs, cwd=world.folder / "project", capture_output=True, text=True).stdout
    return found + ([f"it leaves {left}"] if left else [])


@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
@EFFECTS
def test_a_submit_with_a_snapshot_is_whole_or_never_was(effects, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sweep, "YOUNG_S", -1.0)
    walk.everywhere(tmp_path, effects, a_submit_with_a_snapshot, it_is_whole_or_never_was, more_than=5)
