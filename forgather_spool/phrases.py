"""Moments, amounts and lists as people read them, for what is said of a waiting job.

Amounts of memory are rounded so that no comparison of two of them says the opposite of what is true.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

_GIB = 1 << 30


def local(at: datetime) -> datetime:
    """`at` in this machine's zone; in UTC where that is a day or more away (a slip in TZ): no datetime can be."""
    try:
        return at.astimezone()
    except ValueError:
        return at.astimezone(UTC)


def at_text(at: datetime) -> str:
    """To the second, in this machine's zone and with its offset: ``2026-11-21 13:05:00 +0100``."""
    return f"{local(at):%Y-%m-%d %H:%M:%S %z}"


def gib_down(size_bytes: int) -> str:
    """What there is, to a tenth of a GiB rounded down: never says more than there is."""
    return f"{math.floor(size_bytes * 10 / _GIB) / 10:.1f} GiB"


def gib_up(size_bytes: int) -> str:
    """What is asked, rounded up: "10.0 GiB free, 10.0 GiB asked" would explain nothing."""
    return f"{math.ceil(size_bytes * 10 / _GIB) / 10:.1f} GiB"


def cards(count: int) -> str:
    return "1 card" if count == 1 else f"{count} cards"


def have(count: int) -> str:
    return "has" if count == 1 else f"{count} have"


def of_them(free: int, others: int) -> str:
    return f"{free or 'none'} of {free + others} {'is' if free <= 1 else 'are'} free for it"


def first_of(job_ids: tuple[str, ...], noun: str) -> str:
    more = len(job_ids) - 1
    return f"{noun} {job_ids[0]}" + (f" and {more} more" if more else "")
