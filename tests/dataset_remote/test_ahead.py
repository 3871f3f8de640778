"""Fetching ahead: a thread where reading is waited for, none where it is not, and the same items either way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("pyarrow")

from forgather_spool.dataset.remote import ahead
from forgather_spool.dataset.remote.ahead import DEPTH, Ahead
from tests.waiting import wait_until

HERE = threading.current_thread()


class Source:
    """Numbers; those in `slow` have to be waited for. Remembers who read each, and who closed it."""

    def __init__(self, count: int, *, slow: frozenset[int] = frozenset(), fails_at: int | None = None) -> None:
        self.count, self.slow, self.fails_at = count, slow, fails_at
        self.now = 0.0
        self.readers: list[threading.Thread] = []
        self.closed_by: list[threading.Thread] = []
        self.cancelled = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                if number in self.slow:
                    self.now += 2 * ahead.PATIENCE_S
                if number == self.fails_at:
                    raise ValueError("no more")
                self.readers.append(threading.current_thread())
                yield number
        finally:
            self.closed_by.append(threading.current_thread())

    def ahead(self) -> Ahead[int]:
        return Ahead(iter(self), self.cancelled.set, clock=lambda: self.now)

    def read_by_consumer(self) -> list[int]:
        return [number for number, reader in enumerate(self.readers) if reader is HERE]


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "STRETCH", 3)


def nobody_reads() -> bool:
    return all(thread.name != "forgather-dataset" for thread in threading.enumerate())


def test_what_is_there_at_once_is_read_without_a_thread() -> None:
    source = Source(1000)

    assert list(source.ahead()) == list(range(1000))
    assert len(source.read_by_consumer()) == 1000


def test_what_had_to_be_waited_for_is_followed_by_a_stretch_that_a_thread_reads(short_stretches: None) -> None:
    """And then the consumer tries for itself again."""
    source = Source(12, slow=frozenset({2, 6}))

    assert list(source.ahead()) == list(range(12))

    assert source.read_by_consumer() == [0, 1, 2, 6, 10, 11]


def test_the_thread_reads_while_its_consumer_works() -> None:
    source = Source(100, slow=frozenset({0}))
    reader = iter(source.ahead())

    assert [next(reader), next(reader)] == [0, 1]

    wait_until(lambda: len(source.readers) == 2 + DEPTH + 1)  # one more in its hand, for which there is no room yet
    reader.close()


@pytest.mark.parametrize("fails_at", range(8))
def test_an_error_is_raised_where_it_came(short_stretches: None, fails_at: int) -> None:
    """Behind every item that came before it."""
    source = Source(100, slow=frozenset({1}), fails_at=fails_at)
    found = []

    with pytest.raises(ValueError, match="no more"):
        for item in source.ahead():
            found.append(item)

    assert found == list(range(fails_at))


@pytest.mark.parametrize("taken", range(1, 9))
@pytest.mark.parametrize("leave", [lambda reader: reader.close(), lambda reader: None], ids=["closed", "forgotten"])
def test_an_iteration_that_is_left_closes_its_source_once(
    short_stretches: None, taken: int, leave: Callable[[Iterator[int]], None]
) -> None:
    """Wherever it is: read by the consumer, by the thread, or between the two."""
    source = Source(100, slow=frozenset({1}))
    reader = iter(source.ahead())
    assert [next(reader) for _ in range(taken)] == list(range(taken))

    leave(reader)
    del reader

    wait_until(lambda: source.closed_by)
    wait_until(nobody_reads)
    assert len(source.closed_by) == 1


def test_leaving_wakes_a_thread_that_waits(short_stretches: None) -> None:
    source = Source(2, slow=frozenset({1}))

    def waits_then() -> Iterator[int]:
        yield from iter(source)
        source.cancelled.wait()

    reader = iter(Ahead(waits_then(), source.cancelled.set, clock=lambda: source.now))
    assert [next(reader), next(reader)] == [0, 1]

    reader.close()

    wait_until(nobody_reads)


def test_what_a_program_leaves_open_is_closed_before_its_modules_go() -> None:
    """Also where no thread reads: the interpreter closed it at last, and a traceback came of it."""
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            closed.append(True)

    rows = iter(ahead.Ahead(source(), lambda: None))
    next(rows)

    ahead._stop_all()

    assert closed == [True] and list(rows) == []
