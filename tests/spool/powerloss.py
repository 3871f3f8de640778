"""What a disk may hold after a power cut: the changes a program made, recorded, and every state they may be left in.

`Disk` stands in for `os` in `files` and carries each change out as well. Two
models of what survives a cut after the Nth change:

    ordered   names as a journal commits them: any prefix that holds everything before the last fsync (ext4)
    weak      any subset of the changes whose directories were not fsynced since

In both, content that was not fsynced may be whole, torn, or missing.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from forgather_spool.spool.files import together
from tests import file_system

MOST_SUBSETS = 1 << 10
CONTENTS: tuple[Callable[[bytes], bytes], ...] = (lambda data: data, lambda data: data[: len(data) // 2], lambda _: b"")


@dataclass(frozen=True)
class Change:
    """Names that come (to this inode) and go (None) together, as ``(path, inode)``; inode 0 is a directory.

    `moved`: a directory's old and new path; what is in it comes along.
    """

    names: tuple[tuple[str, int | None], ...] = ()
    moved: tuple[str, str] | None = None

    @property
    def directories(self) -> set[str]:
        return {os.path.dirname(path) for path in (*(path for path, _ in self.names), *(self.moved or ()))}


@dataclass(frozen=True)
class Sync:
    """What was made durable: a directory's names, or an inode's content."""

    directory: str = ""
    inode: int = 0


@dataclass(frozen=True)
class Said:
    """Something that others may rely on from here on, e.g. ``("acknowledged", job_id)``."""

    what: tuple[str, str]


Event = Change | Sync | Said
Tree = frozenset[tuple[str, bytes | None]]  # path to content, None for a directory


class Disk:
    """`os` for `files`, recording. Descriptors are mapped to what they are open on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.content: dict[int, bytes] = {}
        self._inode_of: dict[str, int] = {}
        self._open: dict[int, str] = {}
        self._inodes = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def say(self, what: str, job_id: str) -> None:
        self.events.append(Said((what, job_id)))

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        self._open[fd] = path
        if flags & os.O_CREAT and path not in self._inode_of:
            self._inode_of[path] = next(self._inodes)
            self.content[self._inode_of[path]] = b""
            self.events.append(Change(((path, self._inode_of[path]),)))
        return fd

    def write(self, fd: int, data: bytes) -> int:
        written = os.write(fd, data)
        self.content[self._inode_of[self._open[fd]]] += bytes(data[:written])
        return written

    def fsync(self, fd: int) -> None:
        path = self._open[fd]
        self.events.append(Sync(inode=self._inode_of[path]) if path in self._inode_of else Sync(directory=path))

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        self.events.append(Change(((path, 0),)))

    def link(self, source: str, target: str) -> None:
        os.link(source, target)
        self._inode_of[target] = self._inode_of[source]
        self.events.append(Change(((target, self._inode_of[source]),)))

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)
        if os.path.isdir(target):
            self._inode_of = {_as_moved(path, source, target): inode for path, inode in self._inode_of.items()}
            self.events.append(Change(moved=(source, target)))
            return
        self._inode_of[target] = self._inode_of.pop(source)
        self.events.append(Change(((source, None), (target, self._inode_of[target]))))

    def rmdir(self, path: str) -> None:
        os.rmdir(path)
        self.events.append(Change(((path, None),)))

    def sync_file_system(self, _: str) -> None:
        """Everything there is."""
        self.events += [Sync(inode=inode) for inode in self._inode_of.values()]
        directories = {folder for event in self.events if isinstance(event, Change) for folder in event.directories}
        self.events += [Sync(directory=folder) for folder in directories]

    def unlink(self, path: str) -> None:
        os.unlink(path)
        self._inode_of.pop(path)
        self.events.append(Change(((path, None),)))


@contextmanager
def on(disk: Any) -> Iterator[None]:
    """In the block, `files` works on `disk`."""
    syncfs = together.sync_file_system
    file_system.work_on(disk)
    together.sync_file_system = getattr(disk, "sync_file_system", syncfs)
    try:
        yield
    finally:
        file_system.work_on(os)
        together.sync_file_system = syncfs


State = tuple[frozenset[tuple[str, str]], Tree]


def states(disk: Disk, seen: set[State]) -> Iterator[State]:
    """Every state a cut may leave, with what had been said by then; those in `seen` left out, and added."""
    for cut in range(len(disk.events) + 1):
        past = disk.events[:cut]
        said = frozenset(event.what for event in past if isinstance(event, Said))
        for survivors in itertools.chain(_ordered(past), _weak(past)):
            for tree in _trees(disk, past, survivors):
                if (said, tree) not in seen:
                    seen.add((said, tree))
                    yield said, tree


def _ordered(past: list[Event]) -> Iterator[list[Change]]:
    last_sync = max((at for at, event in enumerate(past) if isinstance(event, Sync)), default=-1)
    for end in range(last_sync + 1, len(past) + 1):
        yield [event for event in past[:end] if isinstance(event, Change)]


def _weak(past: list[Event]) -> Iterator[list[Change]]:
    doubtful = [at for at, event in enumerate(past) if isinstance(event, Change) and not _is_durable(event, past[at:])]
    for lost in itertools.islice(_subsets(doubtful), MOST_SUBSETS):
        yield [event for at, event in enumerate(past) if isinstance(event, Change) and at not in lost]


def _subsets(items: list[int]) -> Iterator[frozenset[int]]:
    """The latest changes first: they are the ones in doubt on real disks."""
    latest = items[::-1]
    for bits in range(1 << len(latest)):
        yield frozenset(item for n, item in enumerate(latest) if bits >> n & 1)


def _is_durable(change: Change, later: list[Event]) -> bool:
    synced = {event.directory for event in later if isinstance(event, Sync)}
    return all(directory in synced or _is_swept(directory, change) for directory in change.directories)


def _is_swept(directory: str, change: Change) -> bool:
    """Whether what comes back here is removed; ``*.json`` in tmp/ may be a job."""
    return os.path.basename(directory) == "tmp" and not any(path.endswith(".json") for path, _ in change.names)


def _trees(disk: Disk, past: list[Event], survivors: list[Change]) -> Iterator[Tree]:
    synced = {event.inode for event in past if isinstance(event, Sync)}
    names: dict[str, int] = {}
    for change in survivors:
        if change.moved is not None:
            names = {_as_moved(path, *change.moved): inode for path, inode in names.items()}
        for path, inode in change.names:
            if inode is None:
                names.pop(path, None)
            else:
                names[path] = inode
    standing = _standing(names)
    reachable = {path: inode for path, inode in names.items() if os.path.dirname(path) in standing}
    for content_of in CONTENTS:
        yield frozenset(
            (path, None if inode == 0 else _held(disk, inode, synced, content_of)) for path, inode in reachable.items()
        )


def _as_moved(path: str, source: str, target: str) -> str:
    return target + path.removeprefix(source) if path == source or path.startswith(f"{source}/") else path


def _standing(names: dict[str, int]) -> set[str]:
    """The directories that are there, with what they lie in. A name below one that did not survive is gone with it."""
    made = sorted((path for path, inode in names.items() if inode == 0), key=len)
    standing = {os.path.dirname(made[0])} if made else set()
    for path in made:
        if os.path.dirname(path) in standing:
            standing.add(path)
    return standing


def _held(disk: Disk, inode: int, synced: set[int], content_of: Callable[[bytes], bytes]) -> bytes:
    return disk.content[inode] if inode in synced else content_of(disk.content[inode])
