"""Arrays: which members an array has, and what one spelling of them means.

    0-99        0, 1, ... 99: both ends are members
    0-99:10     every tenth: 0, 10, ... 90
    1,3,5-9     lists of these
    0-99%4      at most four run at once; only `submit --array` takes this, a spec has `limit`

Each member is a job: ``<family>[<index>]``. A selection of members is spelled
the same way in the brackets of an id, where ``*`` is all of them.

Light: `forgather submit` comes through here.
"""

from __future__ import annotations

from itertools import pairwise

from forgather_spool.errors import BadDocument

MAX_MEMBERS = 1_000_000
MAX_INDEX = 9_999_999
ALL = "*"


def indexes(text: str, *, where: str = "$.array.indexes") -> list[int]:
    """The members `text` spells, ascending, each once.

    Raises:
        BadDocument: it spells none, one that is too large, or more than `MAX_MEMBERS`.
    """
    found: set[int] = set()
    for part in text.split(","):
        members = _range(part.strip(), where)
        if len(members) + len(found) > MAX_MEMBERS:
            raise BadDocument(where, f"more than {MAX_MEMBERS:,} members", hint="submit several arrays")
        found.update(members)
    return sorted(found)


def size(text: str, *, where: str = "$.array.indexes") -> int:
    """How many members `text` spells: without making them where it is plain to see. Raises as `indexes`."""
    ranges = sorted((_range(part.strip(), where) for part in text.split(",")), key=lambda members: members.start)
    if any(after.start <= before[-1] for before, after in pairwise(ranges)):
        return len(indexes(text, where=where))
    return sum(map(len, ranges))


def with_limit(text: str) -> tuple[str, int | None]:
    """``0-99%4`` is ``("0-99", 4)``: what stands in a spec's `array`. Checks the indexes.

    Raises:
        BadDocument: as `indexes`, and for a limit that is no number above 0.
    """
    spelled, percent, limit = text.partition("%")
    indexes(spelled, where="$.array")
    if not percent:
        return spelled, None
    if not _is_number(limit) or int(limit) < 1:
        raise BadDocument("$.array", f"{limit!r} after % is no number of members that run at once", hint=_HINT)
    return spelled, int(limit)


def spell(members: list[int]) -> str:
    """The shortest text that means these ascending members, without steps: ``0-3,7``."""
    parts: list[str] = []
    start = 0
    for i in range(1, len(members) + 1):
        if i == len(members) or members[i] != members[i - 1] + 1:
            first, last = members[start], members[i - 1]
            parts.append(str(first) if first == last else f"{first}-{last}")
            start = i
    return ",".join(parts)


_HINT = "such as 0-99, 0-99:10, 1,3,5-9 or 0-99%4"


def _range(part: str, where: str) -> range:
    span, colon, step = part.partition(":")
    first, dash, last = span.partition("-")
    numbers = [first, *([last] if dash else []), *([step] if colon else [])]
    if not all(map(_is_number, numbers)) or (colon and not dash):
        raise BadDocument(where, f"{part!r} is no index and no range", hint=_HINT)
    if colon and int(step) < 1:
        raise BadDocument(where, f"{part!r}: a step is at least 1", hint=_HINT)
    low, high = int(first), int(last) if dash else int(first)
    if high < low:
        raise BadDocument(where, f"{part!r} ends before it begins", hint=_HINT)
    if high > MAX_INDEX:
        raise BadDocument(where, f"{part!r}: {high} is more than {MAX_INDEX}")
    return range(low, high + 1, int(step) if colon else 1)


def _is_number(text: str) -> bool:
    """Digits of ASCII, few enough to be meant."""
    return 0 < len(text) <= len(str(MAX_INDEX)) + 1 and not text.strip("0123456789")
