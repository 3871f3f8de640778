"""Rows as JSON lines: what the predecessor's clients read, each line valid JSON.

    bytes                   {"__bytes_b64__": "..."}          the predecessor's tag
    NaN, Infinity           {"__float__": "nan"}              JSON has none; null would be another value
    timestamps, dates       ISO 8601 text                     the type is lost, the value is not
    durations               seconds
    decimals                text
    images, audio           what is stored: {"bytes": {...}, "path": ...}
    maps                    a list of [key, value]

Types do not survive JSON; who needs them asks for Arrow. A column or field
that is itself called as a tag is refused: its values could not be told from ours.
"""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from forgather_spool.dataset.formats import dicts
from forgather_spool.dataset.python_columns import datetimes
from forgather_spool.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

TAGS = frozenset({"__bytes_b64__", "__float__"})
END = "_end"


def check_schema(schema: pa.Schema) -> None:
    """Raise UsageError when a field could not be told from a tag, its name is no key, or its values have no form."""
    for field in schema:
        _check_field(field)
    _check_names("columns", schema.names)


def _check_field(field: pa.Field) -> None:
    if field.name in TAGS:
        raise UsageError(f"a field is called {field.name}, as a tag of this format is: ask for Arrow")
    from pyarrow import types

    kind = _stored(field.type)
    if types.is_struct(kind):
        inner = [kind.field(place) for place in range(kind.num_fields)]
        _check_names(f"fields of {field.name}", [one.name for one in inner])
    elif _is_list(kind):
        inner = [kind.value_field]
    elif types.is_map(kind):
        inner = [kind.key_field, kind.item_field]
    elif any(test(kind) for test in _forms()):
        inner = []
    else:
        raise UsageError(f"{field.name}: {kind} has no form in JSON: ask for Arrow")
    for one in inner:
        _check_field(one)


def _check_names(what: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise UsageError(f"two {what} have one name; JSON would keep one of them: ask for Arrow")


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves: of an extension its storage, of a dictionary what it stands for."""
    from pyarrow import BaseExtensionType, types

    while isinstance(kind, BaseExtensionType) or types.is_dictionary(kind):
        kind = kind.storage_type if isinstance(kind, BaseExtensionType) else kind.value_type
    return kind


def lines(batch: pa.RecordBatch) -> bytes:
    """A line for each row, each ended by a newline."""
    import orjson

    dumps, option = orjson.dumps, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    rows = dicts(batch.schema.names, [_plain(column) for column in batch.columns], batch.num_rows)
    return b"".join([dumps(row, option=option) for row in rows])


def end_line(rows: int, fingerprint: str) -> bytes:
    """The last line of a stream asked for with ``frames=1``."""
    import orjson

    line: bytes = orjson.dumps({END: {"rows": rows, "fingerprint": fingerprint}})
    return line + b"\n"


def _plain(column: pa.Array) -> list[Any]:
    """Values that the JSON writer takes, one for each row."""
    import pyarrow as pa

    kind = column.type
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if types.is_floating(kind):
        return _floats(column)
    if types.is_timestamp(kind):
        return _timestamps(column)
    if any(test(kind) for test in _binaries()):
        return [None if value is None else {"__bytes_b64__": b64encode(value).decode()} for value in column.to_pylist()]
    if _is_list(kind):
        return _lists(column)
    if types.is_struct(kind):
        return _structs(column)
    if types.is_map(kind):
        return _maps(column)
    if types.is_date(kind):
        return _dates(column)
    if types.is_time(kind):
        return _times(column)
    if types.is_duration(kind):
        return _durations(column)
    if types.is_decimal(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


Test = Callable[["pa.DataType"], bool]


def _forms() -> list[Test]:
    """Types of single values that `_plain` knows a form for."""
    from pyarrow import types

    simple = [types.is_string, types.is_large_string, types.is_integer, types.is_boolean, types.is_null]
    others = [types.is_floating, types.is_timestamp, types.is_date, types.is_time, types.is_duration, types.is_decimal]
    return [*simple, *others, *_binaries(), *_views("is_string_view")]


def _binaries() -> list[Test]:
    from pyarrow import types

    return [types.is_binary, types.is_large_binary, types.is_fixed_size_binary, *_views("is_binary_view")]


def _views(test: str) -> list[Test]:
    """Views came with pyarrow 16."""
    from pyarrow import types

    return [found] if (found := getattr(types, test, None)) else []


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _dates(column: pa.Array) -> list[Any]:
    import numpy as np
    import pyarrow as pa

    try:
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    except (ValueError, OverflowError):  # years that Python does not count
        days = column.cast(pa.date32()).cast(pa.int32())
        texts = np.datetime_as_string(days.fill_null(0).to_numpy().astype("datetime64[D]")).tolist()
        return _with_nulls(texts, column)


def _floats(column: pa.Array) -> list[Any]:
    import numpy as np
    import pyarrow.compute as pc

    if column.type.bit_width == 16:
        column = column.cast("float32")
    values: list[Any] = column.to_pylist()
    finite = pc.all(pc.is_finite(column)).as_py()
    if finite is None or finite:
        return values
    return [
        value if value is None or np.isfinite(value) else {"__float__": str(value)}
        for value in values
    ]  # fmt: skip


def _timestamps(column: pa.Array) -> list[Any]:
    """As `datetime.isoformat` spells them; nanoseconds have nine digits where six do not do."""
    import numpy as np

    kind = column.type
    if kind.tz is not None and kind.unit != "ns":
        with contextlib.suppress(ValueError, OverflowError):  # a zone or years that Python does not know: in UTC
            return [None if value is None else value.isoformat() for value in column.to_pylist()]
    if not len(column):
        return []
    if kind.unit != "ns" and kind.tz is None and (found := datetimes(column)) is not None:
        return found  # which the JSON writer spells the same way
    numbers = np.frombuffer(column.buffers()[1], np.int64, len(column), column.offset * 8)
    texts: list[Any] = np.datetime_as_string(numbers.view(f"datetime64[{kind.unit}]")).tolist()
    if kind.unit != "s":
        texts = [_short(text) for text in texts]
    if kind.tz is not None:
        texts = [f"{text}+00:00" for text in texts]
    return texts if not column.null_count else _with_nulls(texts, column)


def _short(text: str) -> str:
    seconds, _, fraction = text.partition(".")
    if not fraction.strip("0"):
        return seconds
    if len(fraction) == 9 and fraction.endswith("000"):
        fraction = fraction[:6]
    return f"{seconds}.{fraction:0<6}"


def _times(column: pa.Array) -> list[Any]:
    import numpy as np
    import pyarrow as pa

    if column.type.unit != "ns":
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    numbers = column.cast(pa.int64()).fill_null(0).to_numpy()  # Python's times have no nanoseconds
    texts = np.datetime_as_string(numbers.view("datetime64[ns]")).tolist()
    return _with_nulls([_short(text).partition("T")[2] for text in texts], column)


def _durations(column: pa.Array) -> list[Any]:
    per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[column.type.unit]
    return [None if value is None else value / per_second for value in column.cast("int64").to_pylist()]


def _lists(column: pa.Array) -> list[Any]:
    """Lists of plain numbers as numpy views, which the JSON writer takes; others value by value."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        values = column.values.slice(column.offset * width, len(column) * width)
        offsets = np.arange(len(column) + 1, dtype=np.int64) * width
    else:
        offsets = column.offsets.to_numpy()
        values = column.values.slice(offsets[0], offsets[-1] - offsets[0])
        offsets = offsets - offsets[0]
    kind = values.type
    as_numbers = (
        pa.types.is_integer(kind) or (pa.types.is_floating(kind) and kind.bit_width > 16)
    ) and not values.null_count
    if as_numbers and pa.types.is_floating(kind):
        as_numbers = pc.all(pc.is_finite(values)).as_py() is not False
    inner = values.to_numpy() if as_numbers else _plain(values)
    bounds = offsets.tolist()
    rows = [inner[start:stop] for start, stop in pairwise(bounds)]
    return rows if not column.null_count else _with_nulls(rows, column)


def _structs(column: pa.Array) -> list[Any]:
    names = [column.type.field(place).name for place in range(column.type.num_fields)]
    inner = [_plain(column.field(place)) for place in range(len(names))]
    rows: list[Any] = [dict(zip(names, values, strict=True)) for values in zip(*inner, strict=True)]
    if not names:
        rows = [{} for _ in range(len(column))]
    return rows if not column.null_count else _with_nulls(rows, column)


def _maps(column: pa.Array) -> list[Any]:
    bounds = column.offsets.to_pylist()
    pairs = [list(pair) for pair in zip(_plain(column.keys), _plain(column.items), strict=True)]
    first = bounds[0] if len(column.keys) == bounds[-1] - bounds[0] else 0
    rows = [pairs[start - first : stop - first] for start, stop in pairwise(bounds)]
    return rows if not column.null_count else _with_nulls(rows, column)


def _with_nulls(rows: list[Any], column: pa.Array) -> list[Any]:
    return [row if there else None for row, there in zip(rows, column.is_valid().to_pylist(), strict=True)]
