"""What a client asks of /iter: its query as values, checked against the data set it is about.

    seed, position, limit       as the predecessor's: shuffled by seed, from there, at most so many
    epoch                       another shuffle of the same seed
    order                       global (default) or window, or an order's own text (see dataset/order.py)
    shard=i/n                   elements i, i+n, i+2n ... of the order; as many for each i (a rest is left out)
    walk                        the elements spelled out (see dataset/walk.py), in place of position, limit and shard
    columns=a,b                 these only, in this order; percent-encoded, so that a name may hold a comma
    batch_bytes, codec          Arrow: how much a batch holds, and none, lz4 or zstd
    frames=1                    NDJSON: a last line that says the stream is complete

`position` counts in the order, whatever the shard. Anything else is refused: a
misspelled key must not give other data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from forgather_spool.dataset.frames import CODECS
from forgather_spool.dataset.order import Order, Shuffle, Window, parse_order
from forgather_spool.dataset.rows import BATCH_BYTES
from forgather_spool.dataset.walk import Walk, parse_walk
from forgather_spool.errors import UsageError

KEYS = (
    "seed", "position", "limit", "epoch", "order", "shard", "walk", "columns", "batch_bytes", "codec", "frames",
)  # fmt: skip
BATCH_BYTES_BOUNDS = (4 << 10, 16 << 20)
MAX_NUMBER = 1 << 63
MAX_TEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One stream. `columns` None: all."""

    order: Order
    walk: Walk
    columns: tuple[str, ...] | None
    batch_bytes: int
    codec: str
    frames: bool


def parse_query(pairs: Sequence[tuple[str, str]], total: int, names: Sequence[str]) -> Asked:
    """The stream that `pairs` ask of a data set of `total` rows with columns `names`.

    Raises:
        UsageError: unknown, doubled or contradicting keys, or values out of their bounds.
    """
    given: dict[str, str] = {}
    for key, value in pairs:
        if key not in KEYS:
            raise UsageError(f"no such query key: {key[:50]!r}; known: {', '.join(KEYS)}")
        if key in given:
            raise UsageError(f"{key} is given twice")
        if len(value) > MAX_TEXT:
            raise UsageError(f"{key} is too long")
        given[key] = value
    order = _order(given, total)
    low, high = BATCH_BYTES_BOUNDS
    codec = given.get("codec", "none")
    if codec not in CODECS:
        raise UsageError(f"codec: one of {', '.join(CODECS)}")
    if given.get("frames", "0") not in ("0", "1"):
        raise UsageError("frames: 0 or 1")
    return Asked(
        order=order,
        walk=_walk(given, len(order)),
        columns=_columns(given, names),
        batch_bytes=_number(given, "batch_bytes", BATCH_BYTES, low, high),
        codec=codec,
        frames=given.get("frames") == "1",
    )


def _order(given: dict[str, str], total: int) -> Order:
    word = given.get("order", "global")
    if word not in ("global", "window"):
        if "seed" in given or "epoch" in given:
            raise UsageError("an order spelled out has its seed and epoch in it")
        return parse_order(word, total)
    if "seed" not in given:
        if "epoch" in given or word == "window":
            raise UsageError("a shuffle needs a seed")
        return Order(total)
    seed = _number(given, "seed", 0, -MAX_NUMBER, 2 * MAX_NUMBER - 1)
    epoch = _number(given, "epoch", 0, 0, MAX_NUMBER - 1)
    return Order(total).then(Window(seed, epoch) if word == "window" else Shuffle(seed, epoch))


def _walk(given: dict[str, str], size: int) -> Walk:
    if "walk" in given:
        if given.keys() & {"position", "limit", "shard"}:
            raise UsageError("walk takes the place of position, limit and shard")
        return parse_walk(given["walk"], size)
    position = _number(given, "position", 0, 0, MAX_NUMBER - 1)
    limit = _number(given, "limit", size, 0, MAX_NUMBER - 1)
    if "shard" not in given:
        first = min(position, size)
        return Walk(first, min(limit, size - first))
    index, count = _shard(given["shard"])
    shared = size - size % count
    first = index + math.ceil(max(0, position - index) / count) * count
    left = max(0, -(-(shared - first) // count))
    return Walk(first, min(limit, left), 1, 1, count) if left else Walk(0, 0)


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    numbers = slash and all(part.isascii() and part.isdigit() and len(part) <= 9 for part in (index, count))
    if numbers and int(index) < int(count):
        return int(index), int(count)
    raise UsageError("shard: i/n with i from 0 up to, not including, n")


def _columns(given: dict[str, str], names: Sequence[str]) -> tuple[str, ...] | None:
    if "columns" not in given:
        return None
    asked = tuple(unquote(name) for name in given["columns"].split(","))
    if len(set(asked)) != len(asked):
        raise UsageError("columns: one is named twice")
    for name in asked:
        if name not in names:
            raise UsageError(f"columns: there is no {name[:50]!r}")
    return asked


def _number(given: dict[str, str], key: str, default: int, low: int, high: int) -> int:
    text = given.get(key)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 20 and low <= int(text) <= high:
        return int(text)
    raise UsageError(f"{key}: expected a whole number from {low} to {high}")
