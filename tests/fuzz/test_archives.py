"""Somebody else's archive: its jobs come in whole, or are refused, and nothing of it lies anywhere else."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest

from forgather_spool import schema
from forgather_spool.errors import UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.files import together
from forgather_spool.spool.imported import read_archive
from forgather_spool.spool.queue import Spool
from tests.fuzz import seeds
from tests.fuzz.archives import archives
from tests.fuzz.endure import endure


def test_a_spoilt_archive_is_taken_in_job_by_job_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "sync_file_system", lambda path: None)  # what is durable is another test's
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    spool = Spool(str(tmp_path / "home")).create()
    stands = everything(tmp_path)

    def take_in(data: bytes) -> None:
        try:
            found = read_archive(spool, io.BytesIO(data), max_job_bytes=1 << 21)
        finally:
            left = everything(tmp_path) - stands
            listed = list(ended_places(spool))
            for place in listed:
                schema.check(files.read_document(place.path), schema.SPEC)
            for folder in (*Path(spool.paths.jobs).glob("*"), *Path(spool.paths.done).glob("*")):
                shutil.rmtree(folder)
        assert {place.job_id for place in listed} == set(found.jobs) <= {seeds.JOB}
        assert all(path.startswith(("home/jobs", "home/spool/done")) for path in left), left

    taken, refused = endure(archives(seed=13), take_in, UnreadableFile, share=100)

    assert taken > 100 and refused > 100, "these archives try nothing"


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
