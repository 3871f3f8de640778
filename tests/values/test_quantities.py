"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.cli.quantities import decimal_number, duration_s, size_bytes, size_text, whole_number
from forgather_spool.errors import UsageError


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("4096", 4096),
        ("1b", 1),
        ("2k", 2048),
        ("512M", 512 << 20),
        ("10G", 10 << 30),
        ("10GB", 10 << 30),
        ("1.5GiB", 3 << 29),
        ("0.1T", (1 << 40) // 10),
        (" 1g ", 1 << 30),
    ],
)
def test_a_size_is_in_powers_of_1024(text, bytes_):
    assert size_bytes(text) == bytes_


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1 << 10, "1 KiB"), (1023 << 10, "0.999 MiB"), (1288490189, "1.2 GiB")],
)
def test_a_size_is_told_in_three_digits(bytes_, text):
    assert size_text(bytes_) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G",
        "ib",
        "1ib",
        "10X",
        "-1G",
        "+1G",
        "1e9",
        "1.G",
        ".",
        "1..2G",
        "1 000",
        "\N{ARABIC-INDIC DIGIT ONE}G",
        "1_0",
        "9" * 19,
        "GiB",
        "1GG",
    ],
)
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        size_bytes(text)

    assert "10G" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1d2h3m4s", 93784),
        ("1.5h", 5400),
        ("36:00:00", 129600),
        ("00:01:30", 90),
    ],
)
def test_a_duration_is_in_seconds(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "h1", "1h2h", "5 parsecs", "1:30", "00:60:00", "00:00:60", "-5m", "1w", "1h30", "1:2:3:4", "nan", "inf"],
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        duration_s(text)

    assert "1h30m" in caught.value.hint


@given(st.integers(-(10**17), 10**17))
def test_a_whole_number_is_what_it_says(number):
    assert whole_number(str(number)) == number


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_a_usage_error(text):
    """Nothing but ASCII digits counts, and nothing else can come out."""
    for parse in (whole_number, decimal_number, size_bytes, duration_s):
        try:
            parse(text)
        except UsageError:
            continue
        assert any(c in "0123456789" for c in text)
