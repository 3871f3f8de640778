"""JSON lines: a line for each row, and what is faster says the same."""

from __future__ import annotations

import datetime
import json

import pytest

np = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("orjson")

from hypothesis import example, given
from hypothesis import strategies as st

from forgather_spool.dataset_server.ndjson import lines

UNITS = ("s", "ms", "us", "ns")
PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
YEAR_0, YEAR_10_000 = -62_167_219_200, 253_402_300_800  # in seconds
numbers = st.integers(-(2**63) + 1, 2**63 - 1)


def _read(batch: pa.RecordBatch) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(batch).splitlines()]


def _spelled(number: int, unit: str) -> str:
    """ISO 8601, as Python spells it in the years it has; nine digits where six do not do."""
    seconds, part = divmod(number, PER_S[unit])
    whole = str(np.datetime64(seconds, "s"))
    digits = f"{part:0{len(str(PER_S[unit])) - 1}d}" if part else ""
    digits = digits.ljust(6, "0") if len(digits) <= 6 or digits.endswith("000") else digits
    return f"{whole}.{digits[:6] if digits[6:] == '000' else digits}" if part else whole


@given(st.sampled_from(UNITS), st.lists(st.none() | numbers | st.integers(YEAR_0, YEAR_10_000), min_size=1))
@example("s", [YEAR_0 - 1, YEAR_0, YEAR_0 + 366 * 86_400, YEAR_10_000 - 1, YEAR_10_000])
@example("us", [-1, 0, 1, 1_500_000, 1_000_000_000_123_000])
def test_a_timestamp_is_spelled_one_way_in_any_company(unit: str, values: list[int | None]) -> None:
    """Whether the others of its batch are null, or in years that Python does not have."""
    column = pa.array(values, pa.timestamp(unit))

    together = [row["at"] for row in _read(pa.record_batch([column], ["at"]))]

    assert together == [None if value is None else _spelled(value, unit) for value in values]


def test_a_timestamp_is_spelled_as_python_spells_it() -> None:
    moments = [datetime.datetime(1, 1, 2, 3), datetime.datetime(2024, 2, 29, 1, 2, 3, 450), datetime.datetime.max]

    found = _read(pa.record_batch([pa.array(moments, pa.timestamp("us"))], ["at"]))

    assert [row["at"] for row in found] == [moment.isoformat() for moment in moments]


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5, unique=True), st.integers(0, 3))
@example(["'", '"', "\\", "{x}", "value_0", "\n", ""], 2)
def test_a_column_may_have_any_name(names: list[str], rows: int) -> None:
    texts = [[f"{name} {row}" for row in range(rows)] for name in names]

    found = _read(pa.record_batch([pa.array(column, pa.string()) for column in texts], names))

    assert found == [dict(zip(names, row, strict=True)) for row in zip(*texts, strict=True)]
