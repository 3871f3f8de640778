"""What lies in a file is sent from there: the same bytes, or an error."""

from __future__ import annotations

import errno
import http.client
import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")
pa = pytest.importorskip("pyarrow")

from forgather_spool.dataset.storage.opening import open_files
from forgather_spool.dataset_server import body
from tests.dataset_server.conftest import write
from tests.dataset_server.serving import Served

SendFile = Callable[[int, int, int, int], int]
TABLE = pa.table({"n": range(400), "text": [f"{number:05}" * 40000 for number in range(400)]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "stored"
    found.mkdir()
    write(found / "x.arrow", TABLE)
    return found


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was sent from files, each time."""
    sizes: list[int] = []
    real = os.sendfile

    def sendfile(to: int, file: int, offset: int, count: int) -> int:
        sizes.append(real(to, file, offset, count))
        return sizes[-1]

    monkeypatch.setattr(body.os, "sendfile", sendfile)
    return sizes


def test_rows_as_they_are_stored_come_from_their_file(tmp_path: Path, folder: Path, sent: list[int]) -> None:
    with Served(tmp_path / "home", local={"x": str(folder)}) as server:
        assert server.arrow(server.load("local/x")).equals(TABLE)

    assert sum(sent) > TABLE.nbytes * 0.9


def test_shuffled_rows_lie_in_no_file(tmp_path: Path, folder: Path, sent: list[int]) -> None:
    with Served(tmp_path / "home", local={"x": str(folder)}) as server:
        found = server.arrow(server.load("local/x"), "?seed=1")

    assert not sent and found.sort_by("n").equals(TABLE)


def test_a_file_system_that_cannot_send_costs_a_copy_and_no_byte(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it says so in mid-piece."""
    real, calls = os.sendfile, iter(range(1000))

    def sendfile(to: int, file: int, offset: int, count: int) -> int:
        if next(calls) % 2:
            raise OSError(errno.EINVAL, "this file system cannot")
        return real(to, file, offset, min(count, 100_000))

    monkeypatch.setattr(body.os, "sendfile", sendfile)
    with Served(tmp_path / "home", local={"x": str(folder)}) as server:
        assert server.arrow(server.load("local/x")).equals(TABLE)

    assert next(calls) > 2


def test_a_file_cut_short_while_it_is_sent_is_an_error(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body.os, "sendfile", lambda to, file, offset, count: 0)

    with Served(tmp_path / "home", local={"x": str(folder)}) as server:
        handle = server.load("local/x")

        with pytest.raises(http.client.IncompleteRead):
            server.arrow(handle)


def test_a_file_that_another_was_renamed_over_is_not_opened_again(tmp_path: Path, folder: Path) -> None:
    """The map still shows the old one, whose rows these are; the path names another."""
    path = folder / "x.arrow"
    first = open_files([path], "arrow")
    second = open_files([path], "arrow")
    where = first._region.address + 8
    file = first.file_at(where)
    write(folder / "new", TABLE)
    os.replace(folder / "new", path)

    found = second.file_at(second._region.address + 8)

    assert file is not None and file[1] == 8 and os.fstat(file[0].fd).st_nlink == 0
    assert found is None
    assert first.file_at(first._region.address - 1) is None


def test_a_file_stays_open_while_somebody_sends_from_it(tmp_path: Path) -> None:
    """And no longer: of thousands of files few are open."""
    files = []
    for number in range(40):
        files.append(tmp_path / f"{number}.arrow")
        write(files[-1], TABLE.slice(0, 10))
    rows = open_files(files, "arrow")
    held = rows.file_at(rows._region.address)
    before = len(os.listdir("/proc/self/fd"))

    for offset in rows._region.offsets:
        assert rows.file_at(rows._region.address + offset) is not None

    assert held is not None and os.fstat(held[0].fd).st_size == files[0].stat().st_size
    assert len(os.listdir("/proc/self/fd")) <= before + 16
