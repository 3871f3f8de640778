"""Our own folder of indexes and converted data. The one module that writes files for data sets.

`$FORGATHER_CACHE`, else `$XDG_CACHE_HOME/forgather`, else `~/.cache/forgather`;
beneath it `dataset/`. Everything in it can be made again: removing it costs
time, never data. A file appears whole (written under another name, fsynced,
renamed), so a killed build leaves a name ending in `.tmp`, which the next build of
the same name removes. `building` lets one program build while others wait; that is
thrift, not correctness: two builders would write the same and the last rename stands.
"""

from __future__ import annotations

import fcntl
import filecmp
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from forgather_spool.errors import StorageFailed


def folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Where indexes lie: `given`, or as the environment says. Made when it is not there."""
    if given is None:
        home = os.environ.get("FORGATHER_CACHE") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "forgather"
        )
        given = os.path.join(home, "dataset")
    path = Path(given)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(path, error) from None
    return path


def write(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """`fill` writes the new content of `path`, which appears whole or not at all."""
    staged = _staged(path)
    try:
        with open(staged, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(staged, path)
        sync(path.parent)
    except OSError as error:
        raise _failed(path, error) from None
    finally:
        staged.unlink(missing_ok=True)


def put_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """`fill` fills a new folder, which then appears as `path`, whole; one that stands there with the same is kept."""
    staged = _staged(path)
    try:
        staged.mkdir(mode=0o700)
        fill(staged)
        for name in os.listdir(staged):
            sync(staged / name)
        sync(staged)
        if path.is_dir() and not _same(staged, path):
            shutil.rmtree(path)
        if not path.is_dir():  # else who has it open goes on: files made anew would count as changed
            os.rename(staged, path)
        sync(path.parent)
    except OSError as error:
        raise _failed(path, error) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _same(one: Path, other: Path) -> bool:
    """Whether both hold the same files, byte for byte."""
    names = os.listdir(one)
    if sorted(names) != sorted(os.listdir(other)):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def _staged(path: Path) -> Path:
    """A name nobody else has: on other hosts and in containers there is the same process id too."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def building(path: Path) -> Iterator[None]:
    """Holds off other builders of `path`, and clears what a killed one left.

    Raises:
        StorageFailed: nothing can be written there.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        opened = open(lock, "ab")  # noqa: SIM115  (what is done meanwhile has errors of its own)
    except OSError as error:
        raise _failed(lock, error) from None
    with opened:
        if _locked(opened):
            for left in path.parent.glob(f"{path.stem}.*.tmp"):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        yield


def _locked(lock: BinaryIO) -> bool:
    """Freed by the kernel when this program dies. False: this file system has no locks; then several build."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _failed(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(f"{path}: {error.strerror or error}", hint="FORGATHER_CACHE names another folder")


def remove_others(kept: Path, pattern: str) -> None:
    """Folders beside `kept` of the same data, as they were before: nobody can open them again."""
    for other in kept.parent.glob(pattern):
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)
