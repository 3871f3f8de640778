"""Strict JSON: what is written is what json writes, and what no file of ours may hold is refused with its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.document import MAX_DEPTH, MAX_DOCUMENT_BYTES, dump, parse
from forgather_spool.errors import BadDocument

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NUMBERS = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, max_size=5)


@given(DOCUMENTS)
def test_a_document_is_spelled_as_the_standard_library_spells_it(document):
    assert dump(document).decode() == json.dumps(document, ensure_ascii=False) + "\n"


@given(DOCUMENTS)
def test_what_was_written_is_read_back(document):
    assert parse(dump(document)) == document


@given(DOCUMENTS)
def test_indented_json_from_elsewhere_is_read(document):
    assert parse(("\n" + json.dumps(document, indent=3) + " \r\n").encode()) == document


@given(st.binary(max_size=60) | TEXTS.map(lambda text: ("{" + text + "}").encode()))
def test_any_bytes_are_read_or_refused_and_nothing_else_happens(data):
    """Whatever we accept, the standard library reads the same way."""
    try:
        document = parse(data)
    except BadDocument:
        return

    assert document == json.loads(data)


REFUSED = {
    b"": "is empty",
    b" \n": "is empty",
    b"[]": "expected an object, got array",
    b"{} {}": "Extra data at line 1 column 4",
    b'{"a": 1,\n "b": }': "Expecting value at line 2 column 7",
    b'{"a": NaN}': "NaN is not JSON",
    b'{"a": 1e999}': "larger than any number here",
    b'{"a": 123456789012345678901}': "larger than any number here",
    b'{"a": 1, "a": 2}': "stands twice",
    b'{"a": "\\u0000"}': "NUL",
    b'{"a": "\\ud800"}': "surrogate",
    b'{"a": "\x01"}': "control character",
    b"\xef\xbb\xbf{}": "byte order mark",
    b'{"a": "\xff"}': "not UTF-8: byte 7 is 0xff",
    b'{"a":' + b"[" * 100_000: "nested too deeply",
    b'{"a":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}": "nested too deeply",
    b" " * (MAX_DOCUMENT_BYTES + 1): "larger than",
}


@pytest.mark.parametrize("data", REFUSED, ids=lambda data: repr(data[:24]))
def test_what_would_stop_a_dispatcher_later_is_refused_with_its_reason(data):
    with pytest.raises(BadDocument) as caught:
        parse(data)

    assert REFUSED[data].lower() in str(caught.value).lower()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1: "key"}, {"a": "\0"}, ["\ud800"]], ids=repr)
def test_what_json_cannot_hold_is_not_written(value):
    with pytest.raises(BadDocument):
        dump({"a": value})
