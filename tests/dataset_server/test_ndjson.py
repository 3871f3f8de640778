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

from forgather_spool.dataset_server.ndjson import check_schema, lines
from forgather_spool.errors import UsageError

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


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([0, 86_399_000_000_001, None], pa.time64("ns")), ["00:00:00", "23:59:59.000000001", None]),
        (pa.array([None, 1_500], pa.time32("ms")), [None, "00:00:01.500000"]),
        (pa.array([10_000_000, None], pa.date32()), ["29349-01-26", None]),
        (pa.array([1, None], pa.timestamp("s", "Mars/Phobos")), ["1970-01-01T00:00:01+00:00", None]),
        (pa.array([2**40, 0], pa.timestamp("s", "UTC")), ["36812-02-20T00:36:16+00:00", "1970-01-01T00:00:00+00:00"]),
        (pa.array(["a", None]).cast(pa.string_view()), ["a", None]),
        (pa.array([b"a", None]).cast(pa.binary_view()), [{"__bytes_b64__": "YQ=="}, None]),
    ],
)
def test_what_python_has_no_value_for_has_a_text(column: pa.Array, expected: list[object]) -> None:
    """Each of these broke its stream off."""
    batch = pa.record_batch([column], ["value"])
    check_schema(batch.schema)

    assert [row["value"] for row in _read(batch)] == expected


@pytest.mark.parametrize(
    "kind",
    [
        pa.month_day_nano_interval(),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.list_(pa.list_view(pa.int8())),
        pa.map_(pa.string(), pa.dense_union([pa.field("a", pa.int8())])),
        pa.dictionary(pa.int8(), pa.month_day_nano_interval()),
        pa.struct([pa.field("a", pa.int8()), pa.field("a", pa.int8())]),
    ],
)
def test_what_has_no_form_is_refused_before_the_first_row(kind: pa.DataType) -> None:
    with pytest.raises(UsageError, match="ask for Arrow"):
        check_schema(pa.schema([("value", kind)]))
