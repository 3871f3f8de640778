"""A look at a data set: some rows where one wants to see them, and a sample from all over it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from forgather_spool.dataset.iterable import ComposableIterableDataset
from forgather_spool.dataset.order import Order, Shuffle
from forgather_spool.dataset.walk import run
from forgather_spool.errors import UsageError

SEED = 0  # the same sample each time one looks


@dataclass(frozen=True, slots=True)
class Where:
    """`count` rows from position `at`, and a sample of `sample`; `columns` None: every column."""

    count: int
    at: int
    sample: int
    columns: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen of `what`. `rows` None: more than were counted. `about` are facts for people and scripts."""

    what: str
    rows: int | None
    about: Mapping[str, Any]
    features: Mapping[str, Any] | None
    examples: pa.Table
    sample: pa.Table


def look(what: str, data: ComposableIterableDataset, where: Where) -> Looked:
    """The rows of `data` at these places.

    Raises:
        UsageError: there is no such place or column.
    """
    if where.columns:
        data = data.select_columns(where.columns)
    rows, order = data.rows, data.order
    _check_place(where.at, len(order))
    schema = rows.schema
    if where.columns:
        schema = pa.schema([schema.field(name) for name in where.columns], schema.metadata)

    def taken(order: Order, first: int, count: int) -> pa.Table:
        found = rows.batches(order, run(first, min(first + count, len(order))), columns=where.columns)
        return pa.Table.from_batches([batch for _, batch in found], schema)

    about: dict[str, Any] = {"fingerprint": rows.fingerprint, "order": order.text, "at": where.at}
    if (sources := getattr(rows, "sources", None)) is not None:
        about |= {"files": len(sources), "stored_bytes": sum(os.path.getsize(file) for file in sources)}
    examples = taken(order, where.at, where.count)
    return Looked(what, len(order), about, rows.features, examples, taken(order.then(Shuffle(SEED)), 0, where.sample))


def look_at_texts(what: str, texts: Iterable[str], where: Where) -> Looked:
    """As `look`, of documents that come one after the other: the sample is the first of them."""
    wanted = where.at + max(where.sample, where.count)
    found = list(itertools.islice(texts, wanted + 1))
    table = pa.table({"text": pa.array(found[:wanted], pa.large_string())})
    rows = len(found) if len(found) <= wanted else None
    if rows is not None:
        _check_place(where.at, rows)
    return Looked(what, rows, {"at": where.at}, None, table.slice(where.at, where.count), table.slice(0, where.sample))


def _check_place(at: int, rows: int) -> None:
    """Of nothing at all the beginning is shown."""
    if at >= max(1, rows):
        raise UsageError(f"position {at} is past the end of {rows} rows", hint="positions begin at 0")
