"""Fetching ahead: a thread that reads while its consumer works. Knows no rows and no server.

The thread ends with the consumer's iterator: at its end, at `close`, when it
is collected, and when the program exits (a thread inside a C++ library while the
interpreter is taken down would abort it). In a process that was forked from
this one there is no such thread, and nothing here is touched.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

DEPTH = 2
EXIT_S = 2.0
T = TypeVar("T")
END = object()


class Ahead(Generic[T]):
    """Iterates over what `items` gives, `DEPTH` ahead. `cancel` wakes `items` when it waits; it runs in another thread.

    An exception of `items` is raised where it would have been.
    """

    def __init__(self, items: Iterator[T], cancel: Callable[[], None]) -> None:
        self._items = items
        self._cancel = cancel
        self._pid = os.getpid()
        self._full: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()  # as many as there is room for; both are in C
        for _ in range(DEPTH):
            self._free.put(None)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forgather-dataset", daemon=True)

    def __iter__(self) -> Iterator[T]:
        _LIVE.add(self)
        self._thread.start()
        try:
            while True:
                kind, found = self._full.get()
                self._free.put(None)
                if kind is END:
                    if found is not None:
                        raise found
                    return
                yield found
                del found  # a batch lives no longer than its consumer wants
        finally:
            self.stop()

    def stop(self, wait_s: float = 0.0) -> None:
        """End the thread. May be called twice, and from a process that has not got it."""
        if self._pid != os.getpid() or self._stopped.is_set():
            return
        self._stopped.set()
        self._cancel()
        self._free.put(None)  # for a thread that waits for room
        if wait_s:
            self._thread.join(wait_s)

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            for item in self._items:
                self._free.get()
                if self._stopped.is_set():
                    return
                self._full.put((None, item))
                del item
        except BaseException as error:  # a thread: whatever it was is raised where the rows are asked for
            last = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
        self._full.put((END, last))


_LIVE: weakref.WeakSet[Ahead[Any]] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for one in list(_LIVE):
        one.stop(wait_s=EXIT_S)
