"""Descriptors of files that are mapped: for the kernel, which can send from a file but not from a map of it.

A few stay open; whoever was given one has it for as long as it holds it. A path may name
another file by now, for files are replaced by renaming others over them: that one is not opened.
"""

from __future__ import annotations

import os

MAX_OPEN = 16  # of a data set: readers in sequence are in a file each


class OpenFile:
    """`fd` is open while this is held."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


class OpenFiles:
    """Files by their number; `identities` has device and inode of each, as of when it was mapped."""

    def __init__(self, paths: list[str], identities: list[tuple[int, int]]) -> None:
        self._paths = paths
        self._identities = identities
        self._open: dict[int, OpenFile | None] = {}

    def get(self, number: int) -> OpenFile | None:
        """None: it cannot be opened, or is another one."""
        if number not in self._open:
            while len(self._open) >= MAX_OPEN:
                del self._open[next(iter(self._open))]
            self._open[number] = self._opened(number)
        return self._open[number]

    def _opened(self, number: int) -> OpenFile | None:
        try:
            found = OpenFile(self._paths[number])
        except OSError:
            return None
        about = os.fstat(found.fd)
        return found if (about.st_dev, about.st_ino) == self._identities[number] else None
