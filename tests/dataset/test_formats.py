"""Formats: the same values, as Python, numpy, torch or Arrow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")

import numpy as np
from hypothesis import given, settings

from forgather_spool.dataset import python_columns
from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.formats import batches_of, columns_of, examples_of
from forgather_spool.dataset.iterable import ComposableIterableDataset
from forgather_spool.dataset.python_columns import python_column
from forgather_spool.dataset.storage.opening import open_files
from forgather_spool.errors import UsageError
from tests.dataset.tables import tables, write_stream

TABLE = pa.table(
    {
        "n": pa.array(range(7), pa.int32()),
        "half": pa.array([number / 2 for number in range(7)], pa.float64()),
        "text": [f"{number} äöü 文" for number in range(7)],
        "tokens": pa.array([[number, number + 1] for number in range(7)], pa.list_(pa.int32())),
        "ragged": pa.array([list(range(number)) for number in range(7)], pa.list_(pa.int32())),
        "at": pa.array([dt.datetime(2024, 1, 1) + dt.timedelta(days=number) for number in range(7)], pa.timestamp("s")),
        "maybe": pa.array([None, *range(6)], pa.int64()),
        "yes": pa.array([number % 2 == 0 for number in range(7)]),
    }
)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    rows = open_files([write_stream(tmp_path / "a.arrow", TABLE, [3])], "arrow")
    return lambda format_: list(ComposableIterableDataset(rows).with_format(format_))


@pytest.mark.parametrize("fast_strings", [True, False])
@settings(deadline=None, max_examples=100)
@given(table=tables())
def test_python_values_are_those_of_arrow(fast_strings: bool, table: Any) -> None:
    """The fast ways give what `to_pylist` gives, also for slices, with pyarrow as it is and as it was before 26."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python_columns, "FAST_STRINGS", fast_strings)
        for batch in table.slice(1).to_batches():
            for column in batch.columns:
                assert repr(python_column(column)) == repr(column.to_pylist())
            assert repr(list(examples_of(batch, "python"))) == repr(batch.to_pylist())


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_at_the_ends_of_the_calendar(unit: str) -> None:
    values = [dt.datetime(1, 1, 1), dt.datetime(1969, 12, 31, 23), dt.datetime(9999, 12, 30)]

    assert python_column(pa.array(values, pa.timestamp(unit))) == values


def test_python_is_the_default(make: Any) -> None:
    assert make("python") == TABLE.to_pylist() == make(None)


def test_numpy_keeps_the_stored_type_and_may_be_written_to(make: Any) -> None:
    third = make("numpy")[3]

    assert third["n"].dtype == np.int32 and third["tokens"].dtype == np.int32
    assert third["tokens"].tolist() == [3, 4] and third["ragged"].tolist() == [0, 1, 2]
    assert third["at"] == np.datetime64("2024-01-04") and third["text"] == "3 äöü 文"
    assert make("numpy")[0]["maybe"] is None and third["maybe"] == 2
    third["tokens"][0] = 9
    assert make("numpy")[3]["tokens"].tolist() == [3, 4]


def test_torch_has_int64_and_float32_and_leaves_the_rest(make: Any) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'forgather-spool[train]'")

    third = make("torch")[3]

    assert third["n"].dtype == third["tokens"].dtype == third["ragged"].dtype == torch.int64
    assert third["half"].dtype == torch.float32 and third["half"].item() == 1.5
    assert third["tokens"].tolist() == [3, 4] and third["yes"].item() is False
    assert third["text"] == "3 äöü 文" and third["at"] == dt.datetime(2024, 1, 4)


def test_arrow_gives_tables(make: Any) -> None:
    assert make("arrow")[3].equals(TABLE.slice(3, 1))


def test_maps_give_the_format_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'forgather-spool[train]'")
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    rows = open_files([write_stream(tmp_path / "a.arrow", TABLE, [3])], "arrow")
    data = ComposableIterableDataset(rows).map(lambda one: {"new": [1.5, 2.5]}, remove_columns=["at"])

    found = next(iter(data.with_format("torch")))
    batch = next(data.with_format("torch").iter(4))

    assert torch.equal(found["new"], torch.tensor([1.5, 2.5])) and found["tokens"].tolist() == [0, 1]
    assert batch["tokens"].shape == (4, 2) and batch["new"].dtype == torch.float32


def test_no_other_formats(make: Any) -> None:
    with pytest.raises(UsageError, match="no format 'pandas'"):
        make("pandas")


@pytest.mark.parametrize("format_", ["python", "numpy", "torch"])
@pytest.mark.parametrize("size", [1, 3, 4, 50])
def test_a_batch_in_parts_is_each_part_by_itself(format_: Any, size: int) -> None:
    """Also where some parts are of one shape or without nulls, and the whole is not."""
    lists = [[1, 2]] * 4 + [[3]] * 3 + [[], None, [4, 5]]
    batch = pa.RecordBatch.from_pydict(
        {
            "n": list(range(10)),
            "text": ["a", "", None, "b", "c", "d", "e", "f", "g", "h"],
            "list": lists,
            "whole": [[1.5, 2.5]] * 10,
            "when": pa.array([None, *range(9)], pa.timestamp("s")),
            "deep": [[["x"]]] * 9 + [None],
        }
    ).slice(1)

    found = list(batches_of(batch, format_, size))

    wanted = [columns_of(batch.slice(start, size), format_) for start in range(0, 9, size)]
    assert [described(one) for one in found] == [described(one) for one in wanted]


def described(value: Any) -> Any:
    """A value with its kind, so that an array is no list."""
    if isinstance(value, dict):
        return {name: described(one) for name, one in value.items()}
    if hasattr(value, "dtype"):
        return type(value).__name__, str(value.dtype), value.tolist()
    return [described(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "column",
    [
        pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")),
        pa.array([2**60], pa.timestamp("s")),
        pa.array([1], pa.timestamp("s", "Mars/Phobos")),
    ],
)
def test_a_value_that_a_format_has_nothing_for_is_said(column: Any) -> None:
    batch = pa.record_batch([column, pa.array([1])], ["value", "n"])

    with pytest.raises(BadDataset, match="format python cannot hold"):
        columns_of(batch, "python")
    with pytest.raises(BadDataset, match="format python cannot hold"):
        list(batches_of(batch, "python", 1))
    assert examples_of(batch, "arrow") == [pa.Table.from_batches([batch])]


def test_of_two_columns_of_one_name_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    table = pa.Table.from_arrays([pa.array([1]), pa.array(["one"])], names=["x", "x"])
    data = ComposableIterableDataset(open_files([write_stream(tmp_path / "a.arrow", table, [1])], "arrow"))

    with pytest.raises(UsageError, match="two columns have one name"):
        list(data)
    assert list(data.with_format("arrow")) == [table]
