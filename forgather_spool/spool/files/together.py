"""Group commit: many files written, linked or renamed without a sync of each, and then made durable by one.

Not among the names of `files` itself: a submit of one job does without it.
"""

from __future__ import annotations

import errno
import os

from forgather_spool.spool.files.reading import failed
from forgather_spool.spool.files.syncing import DIR_MODE, FILE_MODE, sync_directory
from forgather_spool.spool.files.writing import close_quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def write_new(path: str, data: bytes) -> None:
    """Create `path`, not durable: for one of many, which `sync_file_system` makes durable together.

    Raises:
        FileExistsError: something lies there.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(fd, FILE_MODE)
            _fill(fd, data)
        finally:
            os.close(fd)
    except FileExistsError:
        raise
    except OSError as error:
        raise failed("write", path, error) from None


def write_new_unmasked(path: str, data: bytes) -> None:
    """As `write_new`, with a call less, for a process whose umask takes nothing away. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        _fill(fd, data)
    finally:
        os.close(fd)


def _fill(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def write_new_from(path: str, chunks: Iterable[bytes]) -> None:
    """As `write_new`, for what is too large to hold."""
    fd = -1
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(fd, rest) :]
    except FileExistsError:
        raise
    except OSError as error:
        raise failed("write", path, error) from None
    finally:
        if fd >= 0:
            close_quietly(fd)


def make_folder(path: str) -> None:
    """One directory, 0700 whatever the umask, not durable: for one of many. Standing already is fine."""
    try:
        os.mkdir(path, DIR_MODE)
        os.chmod(path, DIR_MODE)
    except FileExistsError:
        return
    except OSError as error:
        raise failed("make", path, error) from None


def link_new(source: str, path: str) -> bool:
    """One more name for `source`, not durable. False: this file cannot have more names, or no file here can.

    Raises:
        FileExistsError: something lies at `path`.
    """
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in _NO_MORE_NAMES:
            return False
        raise failed("create", path, error) from None
    return True


_NO_MORE_NAMES = {errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS}  # a full inode; a file system without links


def rename_new(source: str, target: str) -> bool:
    """Rename, not durable: for one of many. False: `source` is gone, or `target` is a folder that holds something."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise failed("move", source, error) from None
    return True


def move_all(source: str, target: str, found: Iterable[str], renamed: Callable[[str], str] = str) -> list[str]:
    """Rename each of these names from one directory to another; those that were still there. Durable on return.

    `renamed` is the name each gets.

    Raises:
        StorageFailed: one could not be moved now; those before it were.
    """
    moved: list[str] = []
    try:
        for name in found:
            try:
                os.rename(f"{source}/{name}", f"{target}/{renamed(name)}")
                moved.append(name)
            except FileNotFoundError:
                continue  # somebody else moved it; a missing target is found out below
        sync_directory(target)
    except OSError as error:
        raise failed("move files to", target, error) from None
    try:
        sync_directory(source)
    except FileNotFoundError:
        pass  # somebody else has moved the last of them, and removed the directory
    except OSError as error:
        raise failed("move files from", source, error) from None
    return moved


def sync_file_system(path: str) -> None:
    """Make all that was written to the file system of the directory `path` durable: group commit.

    One call for ten thousand files, and for whatever else is being written
    there. A libc without syncfs(2) syncs every file system. Before Linux 5.8
    neither tells of a write that failed.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise failed("sync", path, error) from None
    try:
        if not hasattr(libc, "syncfs"):
            os.sync()
        elif libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise failed("sync", path, OSError(number, os.strerror(number)))
    finally:
        os.close(fd)
