"""Fetching ahead: a thread that reads while its consumer works, where reading has to be waited for.

Where it has not (a server on this machine, or a consumer that is slower than
its link), a thread only costs: each batch is handed over from one to the other, and the
interpreter with it. So the consumer reads for itself until something took longer than `PATIENCE_S`.
Then a thread reads the next `STRETCH` items, and after them the consumer tries again.

The thread ends with its stretch, and with the consumer's iterator: at its end, at
`close`, when it is collected, and when the program exits (a thread inside a C++ library while the
interpreter is taken down would abort it). In a process that was forked from
this one there is no such thread, and nothing here is touched.

Knows no rows and no server.
"""

from __future__ import annotations

import atexit
import itertools
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from forgather_spool.errors import UsageError

DEPTH = 2
PATIENCE_S = 0.01  # over that much of waiting, what a thread costs is little
STRETCH = 256  # one item in so many is waited for, to see whether it still has to be
EXIT_S = 2.0
T = TypeVar("T")
END, BACK = object(), object()


class Ahead(Generic[T]):
    """Iterates over what `items` gives, `DEPTH` ahead where that is of use.

    `cancel` wakes `items` when it waits; it runs in another thread. An exception of
    `items` is raised where it would have been. `items` is closed with the iteration.
    """

    def __init__(
        self, items: Iterator[T], cancel: Callable[[], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._items = items
        self._cancel = cancel
        self._clock = clock
        self._at_end = False
        self._stretch: _Stretch[T] | None = None

    def __iter__(self) -> Iterator[T]:
        _LIVE.add(self)
        try:
            while True:
                yield from self._until_waited()
                if self._at_end:
                    return
                self._stretch = _Stretch(self._items, self._cancel)
                yield from self._stretch
                if self._stretch.at_end:
                    return
                self._stretch = None
        finally:
            self.stop()

    def _until_waited(self) -> Iterator[T]:
        begin = self._clock()
        for item in self._items:
            waited_s = self._clock() - begin
            yield item
            del item  # a batch lives no longer than its consumer wants
            if waited_s > PATIENCE_S:
                return
            begin = self._clock()
        self._at_end = True

    def stop(self, wait_s: float = 0.0) -> None:
        """End what is being read. May be called twice, and from a process that has not got the thread."""
        if self._stretch is None:
            _close(self._items)
        else:
            self._stretch.stop(wait_s)


class _Stretch(Generic[T]):
    """The next `STRETCH` of `items`, read by a thread. Until it ends nobody else may touch them."""

    def __init__(self, items: Iterator[T], cancel: Callable[[], None]) -> None:
        self.at_end = False
        self._items = items
        self._cancel = cancel
        self._pid = os.getpid()
        self._full: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()  # as many as there is room for; both are in C
        for _ in range(DEPTH):
            self._free.put(None)
        self._stopped = threading.Event()
        self._leaving = itertools.count()  # the consumer and the thread each take one: who comes second closes
        self._thread = threading.Thread(target=self._run, name="forgather-dataset", daemon=True)

    def __iter__(self) -> Iterator[T]:
        self._thread.start()
        while True:
            if self._pid != os.getpid():
                raise UsageError("a forked process cannot go on with an iteration", hint="begin another one there")
            kind, found = self._full.get()
            self._free.put(None)
            if kind is not None:
                self.at_end = kind is END
                if found is not None:
                    raise found
                return
            yield found
            del found

    def stop(self, wait_s: float) -> None:
        if self._pid != os.getpid() or self._stopped.is_set():
            return
        self._stopped.set()
        self._cancel()
        self._free.put(None)  # for a thread that waits for room
        self._leave()
        if wait_s:
            self._thread.join(wait_s)

    def _run(self) -> None:
        kind, last = END, None
        try:
            kind = self._read()
        except BaseException as error:  # a thread: whatever it was is raised where the rows are asked for
            last = error
        self._leave()
        self._full.put((kind, last))

    def _read(self) -> object:
        """What it ended with."""
        for _ in range(STRETCH):
            item = next(self._items, END)
            self._free.get()
            if item is END or self._stopped.is_set():
                return END
            self._full.put((None, item))
            del item
        return BACK

    def _leave(self) -> None:
        if next(self._leaving):
            _close(self._items)


def _close(items: Iterator[Any]) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()


_LIVE: weakref.WeakSet[Ahead[Any]] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Now, while there are modules: what is closed after them, with the interpreter, fails at its first name."""
    for one in list(_LIVE):
        try:
            one.stop(EXIT_S)
        except ValueError:  # a thread of somebody else's is within it
            pass
