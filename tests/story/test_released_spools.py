"""What a released version wrote is read, shown, finished and removed by this one; what a newer one wrote is left alone.

`tests/data/<version>/` is a home as that release left it, a job in every state; `tests/data/generate.py` made it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from forgather_spool.cli.app import app
from forgather_spool.job import State
from forgather_spool.outcome import Cancelled, Exited, Lost
from forgather_spool.spool.archive import write_archive
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.imported import read_archive
from forgather_spool.spool.look import Job, attempts_of, find, look
from forgather_spool.spool.place import all_job_ids
from forgather_spool.spool.queue import Spool
from tests.data.generate import EVERY_FIELD, OUTCOMES
from tests.story.world import World

DATA = Path(__file__).resolve().parents[1] / "data"
RELEASES = sorted(path.name for path in DATA.iterdir() if (path / "spool").is_dir())
NAMED = [
    *OUTCOMES, "cancelled-waiting", "twice", "limited", "trainer", "waiting", "every-field", "held", "between-attempts",
    "taken", "claimed", "started", "ending", "cancelling",
]  # fmt: skip


@pytest.fixture(params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A copy of that release's home; git keeps no modes and no empty directories."""
    world = World(tmp_path)
    shutil.rmtree(world.spool.paths.home)
    shutil.copytree(DATA / request.param, world.spool.paths.home)
    for folder, _, names in os.walk(world.spool.paths.home):
        os.chmod(folder, 0o700)
        for name in names:
            os.chmod(f"{folder}/{name}", 0o600)
    shutil.rmtree(world.spool.paths.hosts)  # as after an upgrade: what stands is completed
    world.spool.create()
    shutil.copytree(DATA / request.param / "hosts", world.spool.paths.hosts, dirs_exist_ok=True)
    yield world
    world.end()


def named(spool: Spool, name: str) -> Job:
    return look(spool, find(spool, name))


def test_there_is_one_for_the_version_that_is_being_written() -> None:
    assert RELEASES


def test_every_job_is_listed_and_none_has_a_problem(world: World) -> None:
    listed = json.loads(world.forgather("sched", "list", "--all", "--json").stdout)

    assert {job["name"] for job in listed["jobs"]} >= set(NAMED)
    assert [job["problem"] for job in listed["jobs"] if job["problem"]] == []
    assert listed["rejected_files"] == 1


@pytest.mark.parametrize("name", NAMED)
def test_it_is_shown_as_it_is(world: World, name: str) -> None:
    def said(*words: str) -> str:
        result = CliRunner().invoke(app, words, env=world.env)
        assert result.exit_code == 0, result.output
        return result.stdout

    for words in (("job", "status"), ("job", "show"), ("job", "show", "--raw"), ("job", "dump")):
        said(*words, name)
    if name in OUTCOMES:
        assert json.loads(said("job", "status", "--json", name))["outcome"]["kind"] == OUTCOMES[name]["kind"]
        assert said("job", "dump", name) == "hello\n"


def test_details_are_what_they_were(world: World) -> None:
    spec = named(world.spool, "every-field").spec
    assert spec is not None and {**spec.document, "priority": -5} == EVERY_FIELD
    assert [one.attempt for one in attempts_of(world.spool, find(world.spool, "twice"))] == [1, 2]
    assert "bytes left out here" in world.forgather("job", "dump", "limited").stdout
    assert "step 10 of 10" in world.forgather("job", "status", "trainer").stdout
    status = json.loads(world.forgather("sched", "status", "--json").stdout)
    assert status["no_gpu_limit"] == 4


def test_a_dispatcher_of_today_finishes_what_it_finds(world: World) -> None:
    """Each job ends once, as its state then says: nothing that had started is started again."""
    before = {name: find(world.spool, name) for name in NAMED}

    world.dispatch_all()

    ends = {name: look(world.spool, job_id) for name, job_id in before.items()}
    assert [name for name, job in ends.items() if job.state is not State.DONE] == ["held"]
    outcome = {name: job.result.outcome for name, job in ends.items() if job.result}
    for name in ("waiting", "every-field", "between-attempts", "taken", "claimed", "ending"):
        assert outcome[name] == Exited(0), name
    assert isinstance(outcome["started"], (Lost, Cancelled)) and isinstance(outcome["cancelling"], Cancelled)
    assert len(all_job_ids(world.spool)) == len(NAMED) + 4  # the array's three, and what lay in incoming/


def test_what_it_left_can_be_exported_imported_and_removed(world: World, tmp_path: Path) -> None:
    ended = [place.job_id for place in ended_places(world.spool)]
    other = Spool(str(tmp_path / "other")).create()
    with open(tmp_path / "history", "w+b") as file:
        write_archive(world.spool, ended_places(world.spool), file, logs=True)
        file.seek(0)
        assert sorted(read_archive(other, file).jobs) == sorted(ended)

    assert json.loads(world.forgather("sched", "cleanup", "--json", "--yes").stdout)["removed"] != []
    assert list(ended_places(world.spool)) == []
    assert named(world.spool, "held").state is State.HELD


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("waiting", "spec"), ("started", "spec"), ("started", "started"),
        ("exited-0", "spec"), ("exited-0", "started"), ("exited-0", "result"),
    ],
)  # fmt: skip
def test_a_document_of_a_newer_version_is_refused_and_not_destroyed(world: World, name: str, which: str) -> None:
    """It is said, the other jobs go on, and every byte of it is still there when the newer program comes back."""
    job = named(world.spool, name)
    path = Path(job.place.path if which == "spec" else getattr(world.spool.paths, which)(job.job_id, 1))
    text = path.read_text().replace('"version": 1', '"version": 2, "new": {"field": 1}', 1)
    if '"version": 2' not in text:
        text = '{"version": 2, ' + text[1:]
    path.write_text(text)
    world.env["FORGATHER_NO_WAKE"] = "1"  # who looks at a job that cannot be running wakes a dispatcher of its own

    shown = world.forgather("job", "status", job.job_id)
    world.dispatch_all()

    assert "a newer forgather" in shown.stdout + shown.stderr
    copies = [found for found in Path(world.spool.paths.home).rglob("*.json") if found.read_text() == text]
    assert copies, "it is gone"
    claimed = named(world.spool, "claimed")
    assert claimed.state is State.DONE, world.said()
