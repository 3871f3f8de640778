"""What users write for a place in a data set: numbers, negative numbers, fractions, "80%", ``train[:80%]``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from operator import index
from typing import Any

from forgather_spool.errors import UsageError

Bound = int | float | str | None


def bound(value: Any, size: int, default: int) -> int:
    """`value` as a position of `size`: -1 is the last, 0.8 and "80%" are four fifths.

    Raises:
        UsageError: it is past either end, or no place at all.
    """
    if value is None:
        return default
    found = _number(value, size)
    if found is None:
        raise UsageError(f"{value!r} is no place in a data set", hint='for example 100, -100, 0.8 or "80%"')
    if not 0 <= found <= size:
        raise UsageError(f"{value!r} is past the end of {size} rows")
    return found


def _number(value: Any, size: int) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d+(\.\d+)?%", text):
            return round(size * float(text[:-1]) / 100)
        if not re.fullmatch(r"-?\d{1,18}", text):
            return None
        value = int(text)
    if isinstance(value, float):
        return round(size * value) if 0 <= value <= 1 else None
    try:
        number = index(value)
    except TypeError:
        return None
    return int(number + size if number < 0 else number)


def whole(value: Any, what: str, least: int | None = None) -> int:
    """`value` as an int: Python's, numpy's, a tensor of one.

    Raises:
        UsageError: it is none (1.0 is none), or less than `least`.
    """
    try:
        found = index(value)
    except (TypeError, ValueError):
        raise UsageError(f"{what} is {value!r}, not a whole number") from None
    if least is not None and found < least:
        raise UsageError(f"{what} is {found}, and at least {least}")
    return found


def contiguous(indices: Iterable[int]) -> tuple[int, int | None]:
    """First and one past the last of consecutive rising numbers; None for that where the last is -1.

    Raises:
        UsageError: none, or with gaps.
    """
    if isinstance(indices, str) or not isinstance(indices, Iterable):
        raise UsageError(f"select takes positions, not {indices!r}", hint="for example range(100)")
    found = indices if isinstance(indices, range) else [whole(one, "a position of select") for one in indices]
    if not found or any(after - before != 1 for before, after in itertools.pairwise(found)):
        raise UsageError("select takes consecutive rising positions", hint="filter can choose any rows")
    return found[0], found[-1] + 1 if found[-1] != -1 else None


SPLIT = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<start>[^:\[\]]*):(?P<stop>[^:\[\]]*)\])?")


def parse_split(split: str | None) -> tuple[str | None, Bound, Bound]:
    """``train[10%:-100]`` as the split's name and its two bounds.

    Raises:
        UsageError: not of that form.
    """
    if split is None:
        return None, None, None
    found = SPLIT.fullmatch(str(split).strip())
    if not found:
        raise UsageError(f"split {split!r}", hint='for example "train" or "train[:80%]"')
    return found["name"].strip(), found["start"] or None, found["stop"] or None
