"""fsync of files and of the names in directories. After a failed one the page may look clean: never try it again."""

from __future__ import annotations

import os

from forgather_spool.spool.files.reading import cannot_open, failed

FILE_MODE = 0o600
DIR_MODE = 0o700


def make_private(path: str) -> None:
    """0600 and durable: for a file that another program wrote and that becomes ours by a rename."""
    make_durable(path, mode=FILE_MODE)


def make_durable(path: str, *, mode: int | None = None) -> None:
    """What the file holds, that is; its name is `make_names_durable`'s. With `mode` set, its mode too.

    Raises:
        FileNotFoundError: nothing is there.
        UnreadableFile, StorageFailed: as `read_bytes`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_open(path, error) from None
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        os.fsync(fd)
    except OSError as error:
        raise failed("sync", path, error) from None
    finally:
        os.close(fd)


def make_names_durable(*directories: str) -> None:
    """Every name that stands in them now. Raises StorageFailed."""
    for directory in directories:
        try:
            sync_directory(directory)
        except OSError as error:
            raise failed("sync", directory, error) from None


def sync_directory(path: str) -> None:
    """Make the names in `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_names(path: str) -> None:
    """As `sync_directory`, in our words: raises StorageFailed."""
    try:
        sync_directory(path)
    except OSError as error:
        raise failed("sync", path, error) from None


def sync(fd: int) -> None:
    """Make the content of an open file durable. Raises OSError."""
    os.fsync(fd)
