"""Formats: record batches as Python, numpy or torch values, a column at a time.

    python   what `to_pylist` gives, faster where that is slow
    numpy    arrays of the stored type; what numpy has no type for stays Python
    torch    tensors: whole numbers int64, others float32, as the `datasets` library has it
    arrow    tables of one row

Values are copied, so they may be written to; the rows of one batch share memory.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import types

from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.python_columns import python_column
from forgather_spool.dataset.stages import transposed
from forgather_spool.errors import Missing, UsageError

Format = Literal["python", "numpy", "torch", "arrow"]
FORMATS = ("python", "numpy", "torch", "arrow")
PART_BYTES, PART_ROWS = 1 << 20, 64  # of a batch, made into examples at a time: of more, the last has left the cache
NUMBERS = "biuf"  # kinds of numpy's types that torch has


def check_format(name: str | None) -> Format:
    """`name` as a format; None is python.

    Raises:
        UsageError: there is no such format.
        Missing: torch is not installed.
    """
    if name not in (None, *FORMATS):
        raise UsageError(f"no format {name!r}", hint=f"there are {', '.join(FORMATS)}")
    if name == "torch" and "torch" not in sys.modules:
        try:
            import torch  # noqa: F401
        except ImportError:
            raise Missing("the format torch needs torch", hint="pip install torch") from None
    return name or "python"  # type: ignore[return-value]


def columns_of(batch: Any, format_: Format) -> dict[str, Any]:
    """Each column as a sequence of one value a row (for numpy and torch one array, where rows are of one shape)."""
    if format_ == "arrow":
        raise UsageError("the format arrow has no columns of values", hint="use it without map and filter")
    column = COLUMN[format_]
    with _held(format_):
        return {name: column(values) for name, values in zip(batch.schema.names, batch.columns, strict=True)}


@contextmanager
def _held(format_: Format) -> Iterator[None]:
    """Says of a value that the format has nothing for (no UTF-8, a year 10,000, a zone nobody knows) that it is one."""
    try:
        yield
    except (ValueError, OverflowError) as error:  # UnicodeDecodeError and ArrowInvalid are ValueErrors
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadDataset(f"a value that the format {format_} cannot hold: {reason}", hint="the format arrow") from None


def batches_of(batch: Any, format_: Format, size: int) -> Iterator[Any]:
    """`columns_of` each `size` rows of `batch`, the last fewer; for arrow tables. At once where that is the same."""
    starts = range(0, batch.num_rows, size)
    if format_ == "arrow":
        yield from (pa.Table.from_batches([batch.slice(start, size)]) for start in starts)
        return
    names = batch.schema.names
    if not names:
        yield from ({} for _ in starts)
    with _held(format_):
        columns = [_parts(values, format_, size) for values in batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def _parts(array: Any, format_: Format, size: int) -> Iterator[Any]:
    """A column of each `size` rows. Copied one by one: a small copy is still in the cache when it is used."""
    starts = range(0, len(array), size)
    even = None if format_ == "python" else _even(array)
    if even is not None and (format_ == "numpy" or even.dtype.kind in NUMBERS):
        return (OWN[format_](even[start : start + size]) for start in starts)
    column = COLUMN[format_]
    if format_ == "python" or types.is_string(array.type):
        found = column(array)
        return (found[start : start + size] for start in starts)
    return (column(array.slice(start, size)) for start in starts)


def parts_of(batch: Any) -> Iterator[Any]:
    """Even parts of about `PART_BYTES` at most, or `PART_ROWS` where those are more."""
    parts = max(1, -(-batch.nbytes // PART_BYTES))
    size = max(PART_ROWS, -(-batch.num_rows // parts))
    return (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def examples_of(batch: Any, format_: Format) -> list[Any]:
    """One value a row: a dict, or for arrow a table of one row."""
    if format_ == "arrow":
        whole = pa.Table.from_batches([batch])
        return [whole.slice(row, 1) for row in range(batch.num_rows)]
    columns = columns_of(batch, format_)
    return dicts(tuple(columns), [_rows(column) for column in columns.values()], batch.num_rows)


def dicts(names: Sequence[str], columns: Sequence[Iterable[Any]], count: int) -> list[dict[str, Any]]:
    """`count` dicts of these columns: of each, one value in every dict."""
    if not names:
        return [{} for _ in range(count)]
    return _dict_maker(tuple(names))(*columns)


@functools.lru_cache(maxsize=256)
def _dict_maker(names: tuple[str, ...]) -> Callable[..., list[dict[str, Any]]]:
    """Compiled for these keys: `dict(zip(names, row))` takes three times as long, and most of all that is done."""
    values = [f"value_{place}" for place in range(len(names))]
    row = ", ".join(f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    made: Callable[..., list[dict[str, Any]]] = eval(
        f"lambda *columns: [{{{row}}} for {', '.join(values)}, in zip(*columns, strict=True)]"
    )
    return made


def as_format(value: Any, format_: Format) -> Any:
    """What a stage returned, in the format asked for: numbers and lists of numbers become arrays."""
    if format_ == "torch":
        import torch

        if isinstance(value, torch.Tensor):
            return value
        found = as_format(value, "numpy")
        return _tensor(found) if isinstance(found, np.ndarray) and found.dtype.kind in NUMBERS else value
    if format_ == "numpy" and isinstance(value, (bool, int, float, list)):
        try:
            found = np.asarray(value)
        except (ValueError, OverflowError):
            return value
        return found if found.dtype.kind in NUMBERS else value
    return value


def _rows(column: Any) -> Any:
    if "torch" in sys.modules and isinstance(column, sys.modules["torch"].Tensor):
        return column.unbind(0)
    return column


def numpy_column(array: Any) -> Any:
    """One array where rows are of one shape, else a list of arrays; what numpy has no type for as in python."""
    even = _even(array)
    return _uneven(array, np.array) if even is None else np.array(even)


def torch_column(array: Any) -> Any:
    """One tensor where rows are of one shape, else a list of tensors; what is no number as in python."""
    even = _even(array)
    if even is not None:
        return _own_tensor(even) if even.dtype.kind in NUMBERS else python_column(array)
    found = _uneven(array, _torch_values)
    return [_tensor(one) if isinstance(one, np.ndarray) and one.dtype.kind in NUMBERS else one for one in found]


def _even(array: Any) -> np.ndarray | None:
    """Its values as one array, not copied where they lie as numpy has them; None: rows are not all of one shape."""
    type_ = array.type
    if isinstance(array, pa.ExtensionArray):
        return _even(array.storage)
    if array.null_count:
        return None
    if types.is_list(type_) or types.is_large_list(type_):
        return _even_lists(array) if _is_number(type_.value_type) else None
    if types.is_timestamp(type_) and type_.tz is not None:
        array = array.cast(pa.timestamp(type_.unit))
    if _is_number(type_) or types.is_temporal(type_):
        return _values(array)
    if types.is_fixed_size_list(type_) and _is_number(type_.value_type) and not (inner := array.flatten()).null_count:
        return _values(inner).reshape(len(array), type_.list_size)
    return None


def _even_lists(array: Any) -> np.ndarray | None:
    if not len(array):
        return None
    bounds = array.offsets.to_numpy()
    inner = array.values.slice(bounds[0], bounds[-1] - bounds[0])
    if inner.null_count:
        return None
    lengths = bounds[1:] - bounds[:-1]
    return _values(inner).reshape(len(array), lengths[0]) if (lengths == lengths[0]).all() else None


def _is_number(type_: Any) -> bool:
    return bool(types.is_boolean(type_) or types.is_integer(type_) or types.is_floating(type_))


def _values(array: Any) -> np.ndarray:
    found: np.ndarray = array.to_numpy(zero_copy_only=False)
    return found


def _uneven(array: Any, own: Callable[[np.ndarray], np.ndarray]) -> list[Any]:
    """A value a row. `own` makes a copy that may be written to, of whatever type it likes."""
    if isinstance(array, pa.ExtensionArray):
        return _uneven(array.storage, own)
    if array.null_count:
        return [as_format(value, "numpy") for value in array.to_pylist()]
    if types.is_list(array.type) or types.is_large_list(array.type):
        return _list_arrays(array, own)
    return python_column(array)


def _list_arrays(array: Any, own: Callable[[np.ndarray], np.ndarray]) -> list[Any]:
    if not len(array):
        return []
    inner = array.flatten()
    if not _is_number(inner.type) or inner.null_count:
        return [as_format(value, "numpy") for value in array.to_pylist()]
    values = own(_values(inner))
    bounds = array.offsets.to_numpy()
    return [values[start:stop] for start, stop in itertools.pairwise((bounds - bounds[0]).tolist())]


def _torch_values(values: np.ndarray) -> np.ndarray:
    kind = values.dtype.kind
    return values.astype(np.int64 if kind in "iu" else np.float32 if kind == "f" else values.dtype)


def _tensor(values: np.ndarray) -> Any:
    import torch

    wanted = np.int64 if values.dtype.kind in "iu" else np.float32 if values.dtype.kind == "f" else values.dtype
    return torch.from_numpy(values.astype(wanted, copy=False))


def _own_tensor(values: np.ndarray) -> Any:
    return _tensor(_torch_values(values))


OWN: dict[str, Callable[[np.ndarray], Any]] = {"numpy": np.array, "torch": _own_tensor}  # a copy, to be written to
COLUMN: dict[str, Callable[[Any], Any]] = {"python": python_column, "numpy": numpy_column, "torch": torch_column}


def columns_of_examples(examples: Sequence[dict[str, Any]], format_: Format) -> dict[str, Any]:
    """Examples that went through stages, as columns."""
    columns: dict[str, Any] = transposed(examples)
    if format_ == "torch":
        import torch

        for name, values in columns.items():
            if all(isinstance(one, torch.Tensor) and one.shape == values[0].shape for one in values):
                columns[name] = torch.stack(values)
    return columns
