"""Ids of jobs and of members of arrays: what is one, in what order they start, and how units are named after them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.host.base import attempt_of_scope, scope_name
from forgather_spool.spool.names import (
    end_of_family,
    entry_name,
    family_of,
    in_start_order,
    index_of,
    is_job_id,
    member_id,
    parse_entries,
    parse_entry,
    start_order,
)

FAMILY = "q_1738012412345_a1b2c3d4"


@pytest.mark.parametrize("text", [FAMILY, f"{FAMILY}[0]", f"{FAMILY}[9999999]", "q_1738012412_a1b2c3d4[10]"])
def test_what_is_an_id(text):
    assert is_job_id(text)
    assert parse_entry(f"{text}.p5.json") == (-5, text)
    assert parse_entries([f"{text}.p5.json"]) == [(-5, text)]


@pytest.mark.parametrize(
    "tail",
    ["[", "[]", "[01]", "[-1]", "[1", "1]", "[1]]", "[[1]", "[1][2]", "[*]", "[1-2]", "[10000000]", "[٣]", "[ 1]"],
)
def test_what_is_none(tail):
    assert not is_job_id(FAMILY + tail)
    assert parse_entry(f"{FAMILY}{tail}.p0.json") is None
    assert parse_entries([f"{FAMILY}{tail}.p0.json"]) == []


def test_a_member_names_its_family_and_its_index():
    assert (family_of(f"{FAMILY}[12]"), index_of(f"{FAMILY}[12]")) == (FAMILY, 12)
    assert (family_of(FAMILY), index_of(FAMILY)) == (None, None)


@given(st.lists(st.integers(0, 9_999_999), unique=True, max_size=20))
def test_members_start_by_their_number(indexes):
    entries = [(0, member_id(FAMILY, index)) for index in indexes]

    assert [index_of(job_id) for _, job_id in sorted(entries, key=start_order)] == sorted(indexes)


def test_families_start_in_the_order_of_their_ids_and_priority_comes_first():
    later = "q_1738012412346_00000000"
    entries = [(0, f"{later}[0]"), (0, f"{FAMILY}[10]"), (0, f"{FAMILY}[9]"), (-1, f"{later}[1]")]

    assert sorted(entries, key=start_order) == [entries[3], entries[2], entries[1], entries[0]]


FAMILIES = ["q_1700000000_0000000a", "q_1738012412345_0000000a", "q_1738012412346_00000000"]
JOB_IDS = st.one_of(
    st.sampled_from(FAMILIES), st.builds(member_id, st.sampled_from(FAMILIES), st.integers(0, 9_999_999))
)
ENTRIES = st.lists(st.tuples(st.integers(-3, 3), JOB_IDS), max_size=40)


@given(ENTRIES)
def test_a_hundred_thousand_are_put_in_the_order_that_each_has(entries):
    assert in_start_order(entries) == sorted(entries, key=start_order)


@given(ENTRIES.filter(bool))
def test_what_is_behind_the_end_of_an_array_is_of_another_array_or_priority(entries):
    entries = sorted(entries, key=start_order)
    first = next((i for i, (_, job_id) in enumerate(entries) if family_of(job_id)), None)
    if first is None:
        return

    end = end_of_family(entries, first)

    like_the_first = [(minus, family_of(job_id)) for minus, job_id in entries]
    assert end == first + like_the_first.count(like_the_first[first])


@pytest.mark.parametrize("job_id", [FAMILY, f"{FAMILY}[0]", f"{FAMILY}[1234567]"])
@pytest.mark.parametrize("attempt", [1, 12])
def test_the_name_of_a_scope_tells_the_job_and_the_attempt(job_id, attempt):
    scope = scope_name(job_id, attempt)

    assert attempt_of_scope(scope) == (job_id, attempt)
    assert not set(scope) - set("abcdefghijklmnopqrstuvwxyz0123456789_-.")  # what systemd takes unescaped
    assert entry_name(job_id, 0).startswith(job_id)
