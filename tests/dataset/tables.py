"""Tables to store: one of many types, and random ones for hypothesis."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")

from hypothesis import reject
from hypothesis import strategies as st

SHARED = pa.table(
    {
        "n": pa.array(range(20)),
        "text": [f"row {number} " * number for number in range(20)],
        "tokens": pa.array([list(range(number % 5)) for number in range(20)], pa.list_(pa.int32())),
        "chat": [[{"role": "user", "content": f"hello {number}"}] * (number % 3) for number in range(20)],
        "maybe": [None if number % 3 else number / 7 for number in range(20)],
    }
)


def write_stream(path: Path, table: Any, sizes: list[int], shift: int = 0, *, in_place: bool = False) -> Path:
    """`table` as an Arrow stream in batches of `sizes`, over and over."""
    staged = path if in_place else path.with_suffix(".new")
    with pa.OSFile(str(staged), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        start, turn = 0, shift
        while start < len(table):
            size = sizes[turn % len(sizes)]
            for batch in table.slice(start, size).combine_chunks().to_batches():
                out.write_batch(batch)
            start, turn = start + size, turn + 1
    if not in_place:
        os.replace(staged, path)
    return path


FLAT = [
    pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(),
    pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(3), pa.binary(70),
    pa.date32(), pa.time64("us"), pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("s"), pa.duration("ms"),
    pa.decimal128(20, 4), pa.decimal256(50, 2), pa.null(),
]  # fmt: skip
TYPES = st.recursive(
    st.sampled_from(FLAT),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda type_: pa.list_(type_, 2)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda types: pa.struct([(f"f{number}", type_) for number, type_ in enumerate(types)])
        ),
        st.just(pa.dictionary(pa.int16(), pa.string())),
        st.just(pa.map_(pa.string(), pa.int32())),
    ),
    max_leaves=4,
)


def values_of(type_: Any, nulls: bool) -> st.SearchStrategy[Any]:
    """Python values of an Arrow type."""
    found = _plain_values(type_, nulls)
    return st.one_of(st.none(), found) if nulls or pa.types.is_null(type_) else found


def _plain_values(type_: Any, nulls: bool) -> st.SearchStrategy[Any]:
    from decimal import Decimal

    check = pa.types
    if check.is_struct(type_):
        return st.fixed_dictionaries({field.name: values_of(field.type, nulls) for field in type_})
    if check.is_map(type_):
        return st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=3).map(
            lambda found: list(found.items())
        )
    if check.is_fixed_size_list(type_):
        return st.lists(values_of(type_.value_type, nulls), min_size=type_.list_size, max_size=type_.list_size)
    if check.is_list(type_) or check.is_large_list(type_):
        return st.lists(values_of(type_.value_type, nulls), max_size=3)
    if check.is_dictionary(type_) or check.is_string(type_) or check.is_large_string(type_):
        return st.text(st.characters(codec="utf-8"), max_size=8)
    if check.is_fixed_size_binary(type_):
        return st.binary(min_size=type_.byte_width, max_size=type_.byte_width)
    if check.is_binary(type_) or check.is_large_binary(type_):
        return st.binary(max_size=8)
    if check.is_boolean(type_):
        return st.booleans()
    if check.is_floating(type_):
        return st.sampled_from([0.0, -0.0, 1.5, float("inf"), -2.25])
    if check.is_decimal(type_):
        return st.integers(-(10**12), 10**12).map(lambda number: Decimal(number) / 100)
    if check.is_null(type_):
        return st.none()
    return st.integers(0, 100)


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """A few columns of any types, with and without nulls, of 0 to 30 rows, with metadata."""
    length = draw(st.integers(0, 30))
    columns = {}
    for number, type_ in enumerate(draw(st.lists(TYPES, min_size=1, max_size=4))):
        values = values_of(type_, draw(st.booleans()))
        columns[f"c{number}"] = pa.array(draw(st.lists(values, min_size=length, max_size=length)), type_)
    table = pa.table(columns)
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:  # pyarrow's own: a null struct points to the first of no words of a dictionary
        reject()
    return table.replace_schema_metadata({"made": "by hypothesis"})
