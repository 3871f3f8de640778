"""Handles: which data sets are open here, each known by what was asked for.

A handle is the first 16 hex digits of the SHA-256 of the canonical request, so
it is the same after a restart and in every process of a server. Equal loads
that come at once are one load; different ones do not wait for each other, and
none holds up the event loop. What has not been read for longest is closed when
there are too many or they map too much; what is being read never is.

Processes of one server share `folder`: each load leaves its words there, so
that a client whose next connection lands in another process is known there too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset_server.policy import Denied, Wanted
from forgather_spool.errors import StorageFailed

LOADERS = 4  # loads at once; each may be an index build that takes minutes
Load = Callable[[Wanted], Rows]


@dataclass(eq=False)
class Handle:
    """One open data set. `readers` counts the streams that use it."""

    name: str
    asked: Mapping[str, object]
    source: str
    rows: Rows
    mapped_bytes: int
    readers: int = 0
    unloaded: bool = False

    def described(self) -> dict[str, object]:
        """As the API tells it: what was asked for, never where it lies."""
        return {
            "handle": self.name,
            "length": len(self.rows),
            "load_args": dict(self.asked),
            "source": self.source,
            "column_names": self.rows.column_names,
            "fingerprint": self.rows.fingerprint,
            "mapped_bytes": self.mapped_bytes,
            "readers": self.readers,
        }


def name_of(asked: Mapping[str, object]) -> str:
    """The handle of a request."""
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class Handles:
    """Those of one process. Only to be used on its event loop.

    `load` opens a data set; it runs in a thread and may take minutes.
    `admit` says again what the policy makes of a request that another process took.
    """

    def __init__(
        self,
        load: Load,
        admit: Callable[[Mapping[str, object]], Wanted],
        folder: str,
        *,
        limit: int,
        limit_bytes: int,
    ) -> None:
        self._load = load
        self._admit = admit
        self._folder = folder
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._open: OrderedDict[str, Handle] = OrderedDict()  # the one read longest ago first
        self._loading: dict[str, asyncio.Task[Handle]] = {}
        self._threads = ThreadPoolExecutor(LOADERS, thread_name_prefix="load")

    def listed(self) -> list[Handle]:
        """Those open in this process."""
        return list(self._open.values())

    @property
    def loading(self) -> int:
        """How many loads are under way."""
        return len(self._loading)

    @property
    def mapped_bytes(self) -> int:
        """Of address space: page cache, shared with everybody, and no memory of ours."""
        return sum(handle.mapped_bytes for handle in self._open.values())

    async def get(self, name: str) -> Handle:
        """The handle called `name`, opened again if another process was asked for it.

        Raises:
            Denied: 404 nobody loaded it (or it was unloaded).
        """
        handle = self._open.get(name)
        if handle is not None and (handle.readers or os.path.exists(self._note(name))):
            self._open.move_to_end(name)
            return handle
        if handle is not None:  # unloaded by another process
            self._forget(handle)
        asked = self._noted(name)
        if asked is None:
            raise Denied(404, "no such handle: POST /v1/load gives one")
        return await self.load(self._admit(asked))

    async def load(self, wanted: Wanted) -> Handle:
        """Open what is wanted, or wait for whoever opens it already.

        Raises, beside what `load` does:
            StorageFailed: it cannot be noted for the other processes.
        """
        name = name_of(wanted.asked)
        handle = self._open.get(name)
        if handle is not None:
            self._open.move_to_end(name)
            self._write_note(handle)
            return handle
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.create_task(self._load_now(name, wanted))
            task.add_done_callback(lambda done: self._loaded(name, done))
        return await asyncio.shield(task)  # a client that leaves takes nothing from the others who wait

    def unload(self, name: str) -> int:
        """Let go of it in every process; how many streams of this one go on to their end.

        Raises:
            Denied: 404 there is no such handle.
        """
        handle = self._open.get(name)
        if handle is None and self._noted(name) is None:
            raise Denied(404, "no such handle")
        try:
            os.unlink(self._note(name))
        except FileNotFoundError:
            pass
        if handle is None:
            return 0
        self._forget(handle)
        return handle.readers

    @contextmanager
    def reading(self, handle: Handle) -> Iterator[Rows]:
        """Its rows, which stay open meanwhile."""
        handle.readers += 1
        try:
            yield handle.rows
        finally:
            handle.readers -= 1
            if handle.unloaded and not handle.readers:
                handle.rows.close()
            self._make_room()

    def close(self) -> None:
        """Let go of everything; a load under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for handle in self.listed():
            self._forget(handle)

    async def _load_now(self, name: str, wanted: Wanted) -> Handle:
        loop = asyncio.get_running_loop()
        rows = await loop.run_in_executor(self._threads, self._load, wanted)
        mapped_bytes = int(getattr(rows, "mapped_bytes", 0))
        handle = Handle(name, wanted.asked, wanted.source, rows, mapped_bytes)
        self._open[name] = handle
        self._write_note(handle)
        self._make_room(keep=handle)
        return handle

    def _loaded(self, name: str, task: asyncio.Task[Handle]) -> None:
        del self._loading[name]
        if not task.cancelled():
            task.exception()  # seen, also where every client that waited for it has left

    def _make_room(self, keep: Handle | None = None) -> None:
        for handle in self.listed():
            too_much = self._limit_bytes and self.mapped_bytes > self._limit_bytes
            if len(self._open) <= self._limit and not too_much:
                return
            if not handle.readers and handle is not keep:
                self._forget(handle)

    def _forget(self, handle: Handle) -> None:
        self._open.pop(handle.name, None)
        handle.unloaded = True
        if not handle.readers:
            handle.rows.close()

    def _note(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _write_note(self, handle: Handle) -> None:
        path = self._note(handle.name)
        if os.path.exists(path):
            return
        try:
            with open(f"{path}.{os.getpid()}", "w") as file:
                json.dump(dict(handle.asked), file)
            os.replace(file.name, path)
        except OSError as error:
            raise StorageFailed(f"a handle cannot be noted: {error.strerror}", hint="is the disk full?") from None

    def _noted(self, name: str) -> dict[str, object] | None:
        if len(name) != 16 or name.strip("0123456789abcdef"):
            return None
        try:
            with open(self._note(name)) as file:
                found: dict[str, object] = json.load(file)
                return found
        except FileNotFoundError:
            return None
