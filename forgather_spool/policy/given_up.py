"""What found no place in this decision, so that 100,000 jobs alike are looked at once.

In one decision cards only get fewer, groups only fuller and priorities only
lower. So what was refused stays refused, and so does all that asks for as much
and more, unless others were asked to give way for it. The same `Asks` object
at the same priority is known again at once, and so is its like that lasts as
long or longer; at a lower one it is looked at anew, since it may be the one
that has waited long enough to have cards kept for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from forgather_spool.policy.values import Asks, Waiting

MOST_POINTS = 64  # of one kind; beyond, a job is looked at that might have been known to be hopeless


class GivenUp:
    """Share it with the generator that feeds `decide`: what it `covers` need not be fed."""

    __slots__ = ("_keep", "_refused", "_refused_at")

    def __init__(self) -> None:
        self._refused_at: dict[int, tuple[int, float]] = {}  # id of an Asks: at which priority, lasting how long
        self._keep: list[Asks] = []  # an id is only good while its object lives
        self._refused: dict[object, list[tuple[float, float, float]]] = {}

    def covers(self, asks: Asks, priority: int) -> bool:
        """Whether the same, or one alike that ends no later, was refused at this priority."""
        return not any(self.left([(-priority, "")], {"": asks}))

    def left(self, entries: Iterable[tuple[int, str]], known: Mapping[str, Asks]) -> Iterator[tuple[int, str]]:
        """Those of ``(-priority, job_id)`` not covered when their turn comes; quick, for 100,000 that ask alike."""
        refused_at = self._refused_at
        last: tuple[int, Asks] | None = None  # mostly the next one is the same again
        for entry in entries:
            asks = known.get(entry[1])
            if asks is not None:
                if last is not None and asks is last[1] and entry[0] == last[0]:
                    continue
                refused = refused_at.get(id(asks.kin or asks))
                if refused is not None and refused[0] == -entry[0] and asks.lasts_s >= refused[1]:
                    last = entry[0], asks
                    continue
            yield entry

    def add(self, entry: Waiting, alike_from_s: float = math.inf) -> None:
        """It was refused, and so is one alike that lasts this long, or as long as this one, or longer."""
        alike = entry.asks.kin or entry.asks
        priority, before_s = self._refused_at.get(id(alike), (None, math.inf))
        least_s = min(alike_from_s, entry.asks.lasts_s)
        self._refused_at[id(alike)] = entry.priority, min(before_s, least_s) if priority == entry.priority else least_s
        self._keep.append(alike)

    def has_no_place(self, entry: Waiting) -> bool:
        """Whether one that asked for no more than this found no place."""
        asked = _point(entry.asks)
        return any(all(map(float.__le__, refused, asked)) for refused in self._refused.get(_kind(entry.asks), ()))

    def learn_no_place(self, entry: Waiting, *, shorter_may: bool) -> None:
        """`shorter_may`: one with a shorter time limit might have found a place, on cards that are kept for another."""
        points = self._refused.setdefault(_kind(entry.asks), [])
        cards, size_bytes, limit_s = _point(entry.asks)
        if len(points) < MOST_POINTS:
            points.append((cards, size_bytes, limit_s if shorter_may else 0.0))


def _kind(asks: Asks) -> object:
    """Only jobs of one kind compare: none that shares with one that does not."""
    terms = asks.terms
    return (asks.gpus > 0, terms.shares, terms.jobs_per_gpu if terms.shares else None)


def _point(asks: Asks) -> tuple[float, float, float]:
    if asks.gpus == 0:
        return (0.0, 0.0, 0.0)
    return (float(asks.gpus), float(asks.terms.gpu_memory_bytes or 0), asks.lasts_s)
