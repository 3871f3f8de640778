"""Removing ended jobs and taking snapshots, killed or refused by the kernel at each system call in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from forgather_spool.snapshot import sweep
from forgather_spool.spool.place import Ended, ended_places, locate
from forgather_spool.spool.remove import remove
from tests import builders
from tests.story.world import World
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
        is_whole = all(map(os.path.exists, (spool.paths.result(job_id, 1), spool.paths.output(job_id, 1))))
        if isinstance(locate(spool, job_id), Ended) and not is_whole:
            found.append(f"{job_id} is listed, and part of it is gone")
    if done.returncode == 0 and os.listdir(spool.paths.jobs):
        found.append("it succeeded and left something")
    again = world.forgather("sched", "cleanup", "--yes")
    if again.returncode or os.listdir(spool.paths.jobs) or any(map(os.listdir, _days(world))):
        found.append(f"the next cleanup leaves {os.listdir(spool.paths.jobs)}: {again.stderr}")
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


def _days(world: World) -> list[Path]:
    return list(Path(world.spool.paths.done).iterdir())


@EFFECTS
def test_a_cleanup_removes_a_job_whole_or_not_at_all_and_the_next_finishes_it(effects, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path)

    done.go(done.points(one_ended_and_one_that_waits), effects, one_ended_and_one_that_waits, each_job_is_whole_or_gone)

    assert not done.wrong, done.report
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
    done = walk.Walk(tmp_path)

    done.go(done.points(a_submit_with_a_snapshot), effects, a_submit_with_a_snapshot, it_is_whole_or_never_was)

    assert not done.wrong, done.report
    assert done.hits > 5
