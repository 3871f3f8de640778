"""Inotify: being told at once that a file came, went or grew. See inotify(7).

What is heard is a reason to look, never a fact: events are merged, lost when
too many come at once (`Watch.OVERFLOW`), and never come from another host's
writes on NFS. So every user also looks from time to time by itself.

Where no watch is to be had (a user has 128 instances by default), a Watch
stays silent and says so in `works`: it costs latency and nothing else.

`ctypes` is imported when a Watch is made: the runner pays for imports.
"""

from __future__ import annotations

import os
import sys

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_OPEN = 0x20
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000

CREATED = IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE
GONE = IN_DELETE | IN_MOVED_FROM
GROWN = IN_MODIFY

_HEADER_BYTES = 16  # struct inotify_event: wd, mask, cookie, len; then len bytes of name
_READ_BYTES = 64 * 1024


class Watch:
    """One inotify instance. Not thread-safe; survives no fork."""

    OVERFLOW = IN_Q_OVERFLOW

    def __init__(self) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._add_watch = libc.inotify_add_watch
        self._rm_watch = libc.inotify_rm_watch
        self._paths: dict[int, str] = {}
        self._silent_end = -1
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.works = self._fd >= 0
        if not self.works:
            self._fd, self._silent_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: str, mask: int) -> bool:
        """Tell of `mask` in the directory or file `path`; again with another mask replaces it.

        False: there is nothing at `path`, or no watch is left. Look by yourself then.
        """
        if not self.works:
            return False
        wd = self._add_watch(self._fd, os.fsencode(path), mask)
        if wd < 0:
            return False
        self._paths[wd] = path
        return True

    def remove(self, path: str) -> None:
        """Tell no more of `path`; not watched is fine."""
        for wd in [wd for wd, watched in self._paths.items() if watched == path]:
            del self._paths[wd]
            self._rm_watch(self._fd, wd)

    def paths(self) -> frozenset[str]:
        """What is watched now; a directory that was removed is no longer."""
        return frozenset(self._paths.values())

    def fileno(self) -> int:
        """What to poll for reading; always a valid descriptor."""
        return self._fd

    def read(self) -> list[tuple[str, str, int]]:
        """What was heard since the last call, as ``(watched path, name in it or "", mask)``. Never blocks.

        A mask of `OVERFLOW` has an empty path: events were lost, look at everything.
        """
        events: list[tuple[str, str, int]] = []
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return events
            events.extend(self._events_in(data))

    def _events_in(self, data: bytes) -> list[tuple[str, str, int]]:
        events = []
        at = 0
        while at < len(data):
            wd = int.from_bytes(data[at : at + 4], sys.byteorder, signed=True)
            mask = int.from_bytes(data[at + 4 : at + 8], sys.byteorder)
            name_bytes = int.from_bytes(data[at + 12 : at + 16], sys.byteorder)
            at += _HEADER_BYTES
            name = os.fsdecode(data[at : at + name_bytes].rstrip(b"\0"))
            at += name_bytes
            if mask & IN_Q_OVERFLOW:
                events.append(("", "", IN_Q_OVERFLOW))
            elif mask & IN_IGNORED:
                self._paths.pop(wd, None)
            elif wd in self._paths:
                events.append((self._paths[wd], name, mask))
        return events

    def close(self) -> None:
        """Forget everything; closing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
        if self._silent_end >= 0:
            os.close(self._silent_end)
        self._fd = self._silent_end = -1
        self.works = False
        self._paths.clear()
