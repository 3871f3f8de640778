"""What found no place in this decision, so that 100,000 jobs alike are looked at once.

In one decision cards only get fewer, groups only fuller and priorities only
lower. So what was refused stays refused, and so does all that asks for as much
and more, unless others were asked to give way for it. The same `Asks` object
at the same priority is known again at once; at a lower one it is looked at
anew, since it may be the one that has waited long enough to have cards kept
for it.
"""

from __future__ import annotations

import math

from forgather_spool.policy.values import Asks, Waiting

MOST_POINTS = 64  # of one kind; beyond, a job is looked at that might have been known to be hopeless


class GivenUp:
    """Share it with the generator that feeds `decide`: what it `covers` need not be fed."""

    __slots__ = ("_at_priority", "_keep", "_refused")

    def __init__(self) -> None:
        self._at_priority: dict[int, int] = {}  # id of an Asks to the priority it was refused at
        self._keep: list[Asks] = []  # an id is only good while its object lives
        self._refused: dict[object, list[tuple[float, float, float]]] = {}

    def covers(self, asks: Asks, priority: int) -> bool:
        """Whether the same was refused at this priority."""
        return self._at_priority.get(id(asks)) == priority

    def add(self, entry: Waiting) -> None:
        self._at_priority[id(entry.asks)] = entry.priority
        self._keep.append(entry.asks)

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
    terms = asks.terms
    limit_s = math.inf if terms.time_limit_s is None else terms.time_limit_s + terms.grace_s
    if asks.gpus == 0:
        return (0.0, 0.0, 0.0)
    return (float(asks.gpus), float(terms.gpu_memory_bytes or 0), limit_s)
