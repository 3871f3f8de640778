"""Counters of a server's processes, in memory that they share: each has a row of its own and writes no other's.

Memory is told as what is ours alone (RssAnon). RSS counts mapped data too:
page cache that the kernel takes back when anybody needs it.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from forgather_spool.dataset_server.memory import anonymous_bytes

FIELDS = ("connections", "streams", "requests", "refused", "rows", "bytes", "loads", "broken", "anonymous_bytes")
_SIZE = 8
_PLACES = {name: place for place, name in enumerate(FIELDS)}


@dataclass(eq=False, slots=True)
class Reader:
    """One stream: who reads what, how much, since when (monotonic)."""

    client: str
    handle: str
    path: str
    began: float
    rows: int = 0
    bytes: int = 0

    def told(self, now: float) -> dict[str, object]:
        """Rates are means since it began: of a client that pauses they are small, as they should be."""
        since_s = max(now - self.began, 1e-3)
        return {
            "client": self.client,
            "handle": self.handle,
            "path": self.path,
            "rows": self.rows,
            "bytes": self.bytes,
            "since_s": since_s,
            "rows_per_s": self.rows / since_s,
            "bytes_per_s": self.bytes / since_s,
        }


class Stats:
    """Made before the processes part; `mine` is set in each of them."""

    def __init__(self, processes: int) -> None:
        self._memory = mmap.mmap(-1, processes * len(FIELDS) * _SIZE)
        self._all = np.frombuffer(self._memory, np.int64).reshape(processes, len(FIELDS))
        self._started = time.monotonic()
        self._last = (self._started, 0, 0)
        self.mine = 0
        self._readers: list[Reader] = []  # of this process

    def add(self, field: str, amount: int) -> None:
        self._all[self.mine, _PLACES[field]] += amount

    def clear(self) -> None:
        """A process that takes the place of one that died begins at nothing."""
        self._all[self.mine] = 0

    @contextmanager
    def during(self, field: str) -> Iterator[None]:
        """Counted while it lasts."""
        self.add(field, 1)
        try:
            yield
        finally:
            self.add(field, -1)

    @contextmanager
    def reading(self, client: str, handle: str, path: str) -> Iterator[Reader]:
        """A stream, told of while it lasts."""
        reader = Reader(client, handle, path, time.monotonic())
        self._readers.append(reader)
        try:
            with self.during("streams"):
                yield reader
        finally:
            self._readers.remove(reader)

    def readers(self) -> list[dict[str, object]]:
        """The streams of this process, the one that began first first."""
        now = time.monotonic()
        return [reader.told(now) for reader in self._readers]

    def given(self, reader: Reader, rows: int, sent: int) -> None:
        """So much more went to `reader`."""
        self.add("rows", rows)
        self.add("bytes", sent)
        reader.rows += rows
        reader.bytes += sent

    def sum(self) -> dict[str, int]:
        """Over all processes. `anonymous_bytes` is as of each one's last look."""
        self._all[self.mine, _PLACES["anonymous_bytes"]] = anonymous_bytes()
        return dict(zip(FIELDS, self._all.sum(axis=0).tolist(), strict=True))

    def told(self) -> dict[str, object]:
        """The sums, and rates since somebody last asked this process (at most since it started)."""
        found = self.sum()
        now = time.monotonic()
        then, rows, sent = self._last
        self._last = (now, found["rows"], found["bytes"])
        over_s = max(now - then, 1e-3)
        rates = {"rows_per_s": (found["rows"] - rows) / over_s, "bytes_per_s": (found["bytes"] - sent) / over_s}
        return {**found, "uptime_s": now - self._started, "over_s": over_s, **rates, "processes": len(self._all)}
