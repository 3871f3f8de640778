"""Removing ended jobs: all of a job goes or none, and nothing else."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forgather_spool.spool import files
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.files import together
from forgather_spool.spool.place import locate, rejected_places
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject
from forgather_spool.spool.remove import FEW, remove, sweep_removed
from tests import builders


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def test_a_removed_job_leaves_nothing(spool: Spool) -> None:
    entry = builders.ended(spool, output=b"x")
    os.mkdir(f"{spool.paths.job(entry[1])}/attempt-1")

    remove(spool, locate(spool, entry[1]))

    assert locate(spool, entry[1]) is None
    assert os.listdir(spool.paths.jobs) == []


def test_an_interrupted_removal_is_finished_by_the_next(spool: Spool, monkeypatch) -> None:
    """Between the two steps the job is in no list, and its folder says why it is there."""
    entry = builders.ended(spool, output=b"x")
    stranger = Path(spool.paths.jobs, "a-trainer-nobody-queued")
    stranger.mkdir()
    with monkeypatch.context() as crash:
        crash.setattr("forgather_spool.spool.remove._remove_folders", _killed)
        with pytest.raises(KeyboardInterrupt):
            remove(spool, locate(spool, entry[1]))
    assert locate(spool, entry[1]) is None

    assert sweep_removed(spool) == 1

    assert os.listdir(spool.paths.jobs) == [stranger.name]


def test_a_sweep_spares_a_job_that_came_back(spool: Spool) -> None:
    """An archive may bring a job back while what is left of it is on its way out."""
    entry = builders.ended(spool, output=b"x")
    os.mkdir(spool.paths.removing(entry[1]))

    assert sweep_removed(spool) == 1

    assert os.listdir(spool.paths.jobs) == [entry[1]]


def test_of_two_at_once_each_is_told_what_it_removed(spool: Spool) -> None:
    """Every job by one of them: with a folder and without, and what was set aside."""
    for number in range(60):
        entry = builders.ended(spool)
        if number % 3 == 0:
            files.remove_tree(spool.paths.job(entry[1]))
        dropped = Path(spool.paths.incoming, f"{number}.json")
        dropped.write_text("{")
        reject(spool, str(dropped), "torn", "")
    places = [*ended_places(spool), *rejected_places(spool)]

    with ThreadPoolExecutor() as pool:
        one, other = pool.map(lambda _: remove(spool, *places), range(2))

    assert sorted(place.path for place in one + other) == sorted(place.path for place in places)
    assert len(places) == 120


def test_many_go_with_as_many_syncs_as_one(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with as many again for two times as many, whichever way they are made durable."""
    synced: list[int] = []
    sync, sync_all = os.fsync, together.sync_file_system
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), sync(fd))[1])
    monkeypatch.setattr(together, "sync_file_system", lambda path: (synced.append(-1), sync_all(path))[1])

    def removing(jobs: int) -> int:
        places = [locate(spool, builders.ended(spool)[1]) for _ in range(jobs)]
        synced.clear()
        remove(spool, *places)
        return len(synced)

    assert removing(2 * FEW) == removing(4 * FEW) <= removing(1)
    assert os.listdir(spool.paths.jobs) == []


def test_two_may_remove_the_same_job(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second finishes what the first has only marked; the first finds nothing left to do."""
    place = locate(spool, builders.ended(spool)[1])
    move = files.move

    def then_the_other_sweeps(source: str, target: str, **how: bool) -> None:
        move(source, target, **how)
        monkeypatch.setattr(files, "move", move)
        assert sweep_removed(spool) == 1

    monkeypatch.setattr(files, "move", then_the_other_sweeps)

    remove(spool, place)

    assert os.listdir(spool.paths.jobs) == []


def test_a_folder_that_is_a_link_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    entry = builders.ended(spool)
    precious = tmp_path / "precious"
    os.rename(spool.paths.job(entry[1]), precious)
    os.symlink(precious, spool.paths.job(entry[1]))

    remove(spool, locate(spool, entry[1]))

    assert (precious / "result.json").exists()


def test_a_rejected_file_goes_alone_whatever_its_name(spool: Spool) -> None:
    """A trainer that nobody queued may have a folder of the same name."""
    trainer = Path(spool.paths.jobs, "llama")
    trainer.mkdir()
    for name in ("llama", "folder.json"):
        dropped = Path(spool.paths.incoming, name)
        dropped.mkdir() if name == "folder.json" else dropped.write_text("{")
        reject(spool, str(dropped), "no job")

    for place in rejected_places(spool):
        remove(spool, place)

    assert os.listdir(spool.paths.rejected) == []
    assert trainer.is_dir()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_rejected_job_goes_with_its_folder_and_its_reason(spool: Spool) -> None:
    entry = builders.taken(spool)
    reject(spool, spool.paths.taken(builders.HOST, entry[1], 0), "spoilt")
    [place] = rejected_places(spool)

    remove(spool, place)

    assert files.names(spool.paths.rejected) == files.names(spool.paths.jobs) == []
