"""The few modules that touch the disk: what other file systems, other users and lost replies make of a call."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.errors import BadDocument, Missing, SpoolUnsafe, StorageFailed, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.files import moving, reading, together, writing
from tests import file_system
from tests.spool.crashing import refused_after

Os = Callable[..., None]


class OsWith:
    """`os`, with some of its functions replaced."""

    def __init__(self, **replaced: Callable[..., Any]) -> None:
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name) or getattr(os, name)


@pytest.fixture
def with_os(request: pytest.FixtureRequest) -> Os:
    """``with_os(link=...)``: from now on the modules of `spool/files/` call this."""
    request.addfinalizer(lambda: file_system.work_on(os))
    return lambda **replaced: file_system.work_on(OsWith(**replaced))


def refusing(number: int) -> Callable[..., Any]:
    def refuse(*args: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_link_whose_reply_was_lost_is_ours(tmp_path: Path, with_os: Os) -> None:
    """NFS: the link is made, the reply is lost, and the call that is sent again finds the name taken."""

    def lost(source: str, target: str) -> None:
        os.link(source, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    with_os(link=lost)

    files.write_once(f"{tmp_path}/x.json", {"ours": True}, str(tmp_path))

    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_name_that_is_gone_when_looked_at_is_not_ours(tmp_path: Path, with_os: Os) -> None:
    with_os(link=refusing(errno.EEXIST))

    with pytest.raises(FileExistsError):
        files.write_once(f"{tmp_path}/x.json", {}, str(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_a_close_that_is_refused_is_no_success(tmp_path: Path, with_os: Os) -> None:
    """NFS and quotas tell at the close that what was written is not there."""

    def close(fd: int) -> None:
        os.close(fd)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with_os(close=close)

    with pytest.raises(StorageFailed, match="quota"):
        files.write_once(f"{tmp_path}/x.json", {}, str(tmp_path))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "write", [lambda path: writing.publish(path, b"x"), lambda path: files.note(path, {}, path[:-2])]
)
def test_what_cannot_be_put_there_leaves_nothing(tmp_path: Path, write: Callable[[str], None]) -> None:
    for calls in range(100):
        with refused_after(calls, errno.ENOSPC) as refusing_os:
            try:
                write(f"{tmp_path}/x")
            except StorageFailed as error:
                assert "No space left" in str(error)
        if refusing_os.refused not in ("unlink", ""):
            assert list(tmp_path.iterdir()) == [], refusing_os.refused
        for path in tmp_path.iterdir():
            path.unlink()
        if not refusing_os.refused:
            break
    assert calls > 3


def test_a_published_file_can_be_read_by_all_and_is_whole(tmp_path: Path) -> None:
    writing.publish(f"{tmp_path}/x.prom", b"a 1\n")
    writing.publish(f"{tmp_path}/x.prom", b"a 2\n")

    [path] = tmp_path.iterdir()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"a 2\n", 0o644)


@pytest.mark.parametrize("write", [lambda path, data: together.write_new(path, data),
                                   lambda path, data: together.write_new_from(path, [data])])  # fmt: skip
def test_short_writes_are_gone_on_with(tmp_path: Path, with_os: Os, write: Callable[[str, bytes], None]) -> None:
    with_os(write=lambda fd, data: os.write(fd, bytes(data)[:3]))

    write(f"{tmp_path}/x", b"0123456789")

    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_where_something_lies_nothing_new_is_written_or_linked(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"theirs")
    (tmp_path / "ours").write_bytes(b"ours")

    for act in (
        lambda path: together.write_new(path, b""),
        lambda path: together.write_new_from(path, [b""]),
        lambda path: together.link_new(f"{tmp_path}/ours", path),
    ):
        with pytest.raises(FileExistsError):
            act(f"{tmp_path}/x")

    assert (tmp_path / "x").read_bytes() == b"theirs"


def test_a_file_system_without_links_is_told_from_one_that_fails(tmp_path: Path, with_os: Os) -> None:
    (tmp_path / "x").touch()
    for number in (errno.EMLINK, errno.EPERM):
        with_os(link=refusing(number))
        assert not together.link_new(f"{tmp_path}/x", f"{tmp_path}/y")

    with_os(link=refusing(errno.EIO))
    with pytest.raises(StorageFailed):
        together.link_new(f"{tmp_path}/x", f"{tmp_path}/y")


class Library:
    """The C library, as far as it is asked; `number` is what `errno` says after each call, 0 for success."""

    def __init__(self, number: int) -> None:
        self._number = number

    def _answer(self, *args: object) -> int:
        ctypes.set_errno(self._number)
        return -1 if self._number else 0

    renameat2 = syncfs = _answer


class OldLibrary:
    """One that knows none of these."""


@pytest.mark.parametrize(
    ("number", "refusal"), [(errno.EINVAL, Missing), (errno.ENOSYS, Missing), (errno.EROFS, StorageFailed)]
)
def test_an_exchange_that_is_not_to_be_had_says_so(
    number: int, refusal: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: Library(number))

    with pytest.raises(refusal):
        moving.exchange(f"{tmp_path}/x", f"{tmp_path}/y")


def test_an_exchange_with_what_is_gone_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")

    assert not moving.exchange(f"{tmp_path}/x", f"{tmp_path}/y")
    assert (tmp_path / "x").read_bytes() == b"x"


def test_a_sync_of_all_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: Library(errno.EIO))

    with pytest.raises(StorageFailed, match="Input/output error"):
        together.sync_file_system(str(tmp_path))


def test_a_c_library_without_syncfs_syncs_everything(
    tmp_path: Path, with_os: Os, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: OldLibrary())
    with_os(sync=lambda: synced.append(True))

    together.sync_file_system(str(tmp_path))

    assert synced == [True]


def test_a_file_that_grows_while_it_is_read_is_given_up(tmp_path: Path, with_os: Os) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123")

    def read(fd: int, size: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"more")
        return os.read(fd, size)

    with_os(read=read)

    with pytest.raises(UnreadableFile, match="grew past 10 bytes"):
        files.read_bytes(str(path), 10)


def as_another(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    """The same facts, of a file of user id 4711."""
    return lambda *args, **more: os.stat_result((*real(*args, **more)[:4], 4711, *real(*args, **more)[5:]))


def test_what_belongs_to_another_user_is_not_trusted(tmp_path: Path, with_os: Os) -> None:
    (tmp_path / "x").touch()
    with_os(fstat=as_another(os.fstat), stat=as_another(os.stat))

    with pytest.raises(UnreadableFile, match="belongs to user id 4711, not to you"):
        files.read_bytes(f"{tmp_path}/x")
    with pytest.raises(SpoolUnsafe, match="belongs to user id 4711, not to you"):
        files.check_private(str(tmp_path))


def test_some_names_of_what_is_no_directory_are_none(tmp_path: Path, with_os: Os) -> None:
    (tmp_path / "x").touch()
    assert reading.some_names(f"{tmp_path}/x", 5) == reading.some_names(f"{tmp_path}/nowhere", 5) == []
    assert reading.some_names(str(tmp_path), 0) == []

    with_os(scandir=refusing(errno.EIO))
    with pytest.raises(StorageFailed):
        reading.some_names(str(tmp_path), 5)


def test_a_tree_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moving.remove_tree(f"{tmp_path}/nowhere")
    (tmp_path / "x").mkdir()
    monkeypatch.setattr("shutil.rmtree", refusing(errno.EROFS))

    with pytest.raises(StorageFailed, match="read-only"):
        moving.remove_tree(f"{tmp_path}/x")


@pytest.mark.parametrize("other", ["host.12.abcdef", "host.x.0123456789ab", "mine.json"])
def test_a_temporary_name_is_known_by_its_form(other: str) -> None:
    assert writing.is_temporary_name(files.temporary_name())
    assert not writing.is_temporary_name(other)


def test_a_document_that_is_none_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"{")

    with pytest.raises(BadDocument, match=f"^{tmp_path}/x"):
        files.read_document(f"{tmp_path}/x")
