"""What `forgather dataset` prints for people. Pure: lines from what was found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import date, time
from typing import TYPE_CHECKING, Any

from forgather_spool.cli.quantities import size_text
from forgather_spool.cli.show import shown
from forgather_spool.cli.table import render, terminal_width

if TYPE_CHECKING:
    from forgather_spool.dataset.look import Looked
    from forgather_spool.dataset.survey import Column, Lengths

VALUE_CHARACTERS = 300
BAR_CELLS = 40


def as_text(found: Looked, columns: Sequence[Column], *, full: bool) -> Iterator[str]:
    """All of it, line by line."""
    yield f"data set:    {shown(found.what)}"
    rows = f"{found.rows:,}" if found.rows is not None else f"more than {len(found.sample):,}"
    yield f"rows:        {rows}, {_sizes(found, columns)}"
    if "fingerprint" in found.about:
        yield f"fingerprint: {found.about['fingerprint']}"
    yield ""
    yield from _columns(found, columns)
    for column in columns:
        if column.lengths is not None:
            yield ""
            yield from _lengths(found, column.name, column.lengths)
    for number in range(len(found.examples)):
        yield ""
        yield f"example {number + found.about['at']}:"
        for name, column in zip(found.examples.column_names, found.examples.columns, strict=True):
            yield f"  {shown(name)}: {_cell(column, number, full)}"


def _cell(column: Any, number: int, full: bool) -> str:
    try:
        return _value(column[number].as_py(), full)
    except (ValueError, OverflowError) as error:  # no UTF-8, a year 40,000: of one value, and the others are shown
        return f"cannot be shown: {shown(next(iter(str(error).splitlines()), type(error).__name__))}"


def _sizes(found: Looked, columns: Sequence[Column]) -> str:
    each = sum(column.row_bytes for column in columns)
    words = [f"about {each:,.0f} bytes each"]
    if found.rows is not None:
        words.append(f"{size_text(round(each * found.rows))} in memory")
    if "stored_bytes" in found.about:
        files = found.about["files"]
        words.append(f"{size_text(found.about['stored_bytes'])} in {files:,} file{'s' if files != 1 else ''}")
    return ", ".join(words)


def _columns(found: Looked, columns: Sequence[Column]) -> Iterator[str]:
    sampled = max(1, len(found.sample))
    features = found.features or {}
    rows = [
        (
            shown(column.name),
            shown(column.type),
            f"{100 * column.nulls / sampled:.3g} %",
            f"{column.row_bytes:,.1f}",
            shown(_feature(features.get(column.name))),
        )
        for column in columns
    ]
    yield from render(("Column", "Type", "Null", "Bytes a row", "Feature"), rows, width=terminal_width(), name_column=0)


def _feature(feature: Any) -> str:
    """What the `datasets` library has to say beyond the type: ClassLabel's names, Image ..."""
    if not isinstance(feature, dict) or feature.get("_type") in (None, "Value"):
        return ""
    names = feature.get("names")
    return f"{feature['_type']}{f' {names}' if names else ''}"


def _lengths(found: Looked, name: str, lengths: Lengths) -> Iterator[str]:
    sampled = f"all {len(found.sample):,}" if len(found.sample) == found.rows else f"{len(found.sample):,} sampled"
    total = f", about {_short(lengths.mean * found.rows)} in all" if found.rows is not None else ""
    yield f"{shown(name)}: {lengths.unit} in {sampled} rows{total}"
    yield (
        f"  least {lengths.least:,}  median {lengths.median:,.0f}  mean {lengths.mean:,.1f}  "
        f"95 % {lengths.p95:,.0f}  most {lengths.most:,}"
    )
    width = max(len(f"{bucket.stop - 1:,}") for bucket in lengths.buckets)
    digits = max(len(f"{bucket.count:,}") for bucket in lengths.buckets)
    largest = max(bucket.count for bucket in lengths.buckets)
    several = any(bucket.stop - bucket.start > 1 for bucket in lengths.buckets)
    cells = max(10, min(BAR_CELLS, _width() - 2 * width - digits - 12))
    for bucket in lengths.buckets:
        bar = "#" * max(1 if bucket.count else 0, round(cells * bucket.count / largest))
        first = f"{bucket.start:>{width},}"
        last = f".. {bucket.stop - 1:>{width},}" if bucket.stop - bucket.start > 1 else ""
        yield f"  {first} {last:<{3 + width if several else 0}}  {bucket.count:>{digits},}  {bar}".rstrip()


def _width() -> int:
    return shutil.get_terminal_size().columns if "COLUMNS" in os.environ or terminal_width() else 80


def _short(amount: float) -> str:
    for unit in ("", " thousand", " million", " billion"):
        if amount < 1000:
            return f"{amount:,.3g}{unit}"
        amount /= 1000
    return f"{amount:,.3g} trillion"


def _value(value: Any, full: bool) -> str:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        text = f"{len(value):,} bytes {value[:24]!r}"
    elif isinstance(value, list) and not full and len(value) > 24:
        text = f"[{', '.join(map(repr, value[:20]))}, ... {len(value):,} in all]"
    else:
        text = value if isinstance(value, str) else repr(value)
    text = shown(text)
    if full or len(text) <= VALUE_CHARACTERS:
        return text
    return f"{text[:VALUE_CHARACTERS]} ... {len(text):,} characters"
