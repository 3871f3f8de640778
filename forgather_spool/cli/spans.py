"""Times as people say them: "12s ago" in a table, "3 min 4 s" in a sentence; local ones that were typed."""

from __future__ import annotations

from datetime import UTC, datetime

_STEPS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def ago(at: datetime | None, now: datetime) -> str:
    """One unit, rounded down; a clock that was set back gives "0s ago". Empty for None."""
    if at is None:
        return ""
    seconds = max(0, int((now - at).total_seconds()))
    size, unit = next(((size, unit) for size, unit in _STEPS if seconds >= size), (1, "s"))
    return f"{seconds // size}{unit} ago"


def span(seconds: float) -> str:
    """E.g. "0.4 s", "12 s", "3 min 4 s", "2 h 5 min", "3 d 4 h"."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s".replace(".0 s", " s")
    whole = int(seconds)
    for size, unit, part_size, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def of_local(at: datetime) -> datetime:
    """A naive local time, aware. In the hour a clock leaves out in spring: as far after its beginning."""
    return datetime.fromtimestamp(at.timestamp(), UTC)  # astimezone() gives an hour before the gap


def from_unix(unix_s: float) -> datetime | None:
    """None for what no calendar reaches; an id may carry any number."""
    try:
        return datetime.fromtimestamp(unix_s, UTC)
    except (ValueError, OverflowError, OSError):
        return None
