"""What may go to a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.cli.show import shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain name", "plain name"),
        ("Prüfung 試験 🙂", "Prüfung 試験 🙂"),
        ("\x1b[2J", "\\x1b[2J"),
        ("two\nlines\tand\rmore", "two\\nlines\\tand\\rmore"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udce9", "\\udce9"),
        ("\U000e0041", "\\U000e0041"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_could_move_a_cursor_is_escaped(text, safe):
    assert shown(text) == safe


@given(st.text())
def test_what_is_shown_is_one_printable_line_that_can_be_encoded(text):
    assert shown(text).isprintable()
    shown(text).encode()
