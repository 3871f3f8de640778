"""Notes of handles: they stay as long as their server does, and what cannot be noted is said."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

from forgather_spool.dataset_server import handles, notes
from tests.dataset_server.serving import Served


@contextmanager
def opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def test_what_cleans_the_temporary_folder_leaves_them_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for a lock of a folder before it takes old files from it. Handles of ten days were unknown then."""
    monkeypatch.setattr(notes.tempfile, "tempdir", str(tmp_path))
    with notes.folder_of_notes() as folder, opened(folder) as fd, pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert not os.path.exists(folder)


def test_a_folder_left_by_a_killed_server_goes_and_one_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes.tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"{notes.PREFIX}left"
    left.mkdir()
    (left / notes.LOCK).touch()
    beginning = tmp_path / f"{notes.PREFIX}beginning"
    beginning.mkdir()

    with notes.folder_of_notes() as used:
        notes.remove_left()

        assert sorted(tmp_path.iterdir()) == sorted([beginning, Path(used)])


def test_a_handle_that_cannot_be_noted_is_no_bug(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk was a 500 without a reason, and a traceback in the log."""

    def full(self: handles.Handles, name: str) -> str:
        return "/dev/full/no"

    monkeypatch.setattr(handles.Handles, "_note", full)

    answer = served.ask("POST", "/v1/load", {"path": "local/stories"})

    assert answer.status == 503 and "error" in answer.json
