"""Removing ended jobs: all of a job goes or none, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgather_spool.spool import files
from forgather_spool.spool.place import locate, rejected_places
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject
from forgather_spool.spool.remove import remove, sweep_removed
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
        crash.setattr("forgather_spool.spool.remove._remove_folder", _killed)
        with pytest.raises(KeyboardInterrupt):
            remove(spool, locate(spool, entry[1]))
    assert locate(spool, entry[1]) is None

    assert sweep_removed(spool) == 1

    assert os.listdir(spool.paths.jobs) == [stranger.name]


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
