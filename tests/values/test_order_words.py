"""When, after what, how often again, and who is told, as people write it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from forgather_spool.cli.submit.order_words import after, begin_at, notify, retry_on
from forgather_spool.errors import UsageError

NOW = datetime.fromisoformat("2026-11-21T15:30:00+01:00")  # a Saturday


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", "2026-11-21T14:30:00Z"),
        ("now+2h", "2026-11-21T16:30:00Z"),
        ("+1h30m", "2026-11-21T16:00:00Z"),
        ("now + 90", "2026-11-21T14:31:30Z"),
        ("now+2hours", "2026-11-21T16:30:00Z"),
        ("now+1day", "2026-11-22T14:30:00Z"),
        ("16:00", "2026-11-21T15:00:00Z"),
        ("8:00", "2026-11-22T07:00:00Z"),
        ("15:29:59", "2026-11-22T14:29:59Z"),
        ("noon", "2026-11-22T11:00:00Z"),
        ("teatime", "2026-11-21T15:00:00Z"),
        ("tomorrow", "2026-11-21T23:00:00Z"),
        ("Tomorrow 8:00", "2026-11-22T07:00:00Z"),
        ("today 16:30", "2026-11-21T15:30:00Z"),
        ("2026-11-22", "2026-11-21T23:00:00Z"),
        ("2026-11-22 08:00", "2026-11-22T07:00:00Z"),
        ("2026-11-22 noon", "2026-11-22T11:00:00Z"),
        ("2026-11-22T08:00:30", "2026-11-22T07:00:30Z"),
        ("2026-11-22T08:00:00Z", "2026-11-22T08:00:00Z"),
        ("2026-11-22t08:00:00+05:30", "2026-11-22T02:30:00Z"),
        ("2027-06-01 08:00", "2027-06-01T06:00:00Z"),
    ],
)
def test_a_time_without_a_zone_is_local_and_a_time_of_day_the_next_to_come(text, at):
    assert begin_at(text, NOW) == at


@pytest.mark.parametrize("text", ["2027-03-28 02:30", "2:30", "tomorrow 2:30"])
def test_a_time_that_the_clock_leaves_out_in_spring_is_not_before_it(text):
    """02:30 is not there that night: 03:30 is the same moment, and 01:30 would be an hour before what was asked."""
    before = datetime.fromisoformat("2027-03-28T00:15:00+01:00" if text == "2:30" else "2027-03-27T12:00:00+01:00")

    assert begin_at(text, before) == "2027-03-28T01:30:00Z"


def test_a_zone_a_day_from_utc_has_times_too(monkeypatch):
    """A mistyped TZ can say so, and the C library goes as far as 24 h 59 min; a datetime's offset has to be less."""
    monkeypatch.setenv("TZ", "XXX-24")  # 14:30 UTC is 14:30 of the next day
    time.tzset()

    assert begin_at("tomorrow 8:00", NOW) == "2026-11-22T08:00:00Z"
    assert begin_at("16:00", NOW) == "2026-11-21T16:00:00Z"
    with pytest.raises(UsageError, match=r"is past \(2026-11-21 14:00 UTC\)"):
        begin_at("today 14:00", NOW)


@pytest.mark.parametrize(
    "text",
    ["", " ", "soon", "10", "2h", "now+", "now-1h", "now2h", "now+99999999999999d", "25:00", "tomorrow x", "2026-13-01",
     "tomorrow noon 5", "9999-12-31 23:59 x"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_examples(text):
    with pytest.raises(UsageError, match="is not a time") as refused:
        begin_at(text, NOW)

    assert "tomorrow 8:00" in refused.value.hint


@pytest.mark.parametrize("text", ["2026-11-21", "today 15:00", "2025-11-22 08:00", "2026-11-21T14:29:59Z"])
def test_a_date_that_is_past_is_taken_for_a_slip(text):
    with pytest.raises(UsageError, match="is past"):
        begin_at(text, NOW)


def test_a_job_is_waited_for_in_one_of_three_ways():
    assert after("a") == [{"job": "a", "when": "ok"}]
    assert after("a:any, b:notok,c") == [
        {"job": "a", "when": "any"},
        {"job": "b", "when": "notok"},
        {"job": "c", "when": "ok"},
    ]
    assert after("lr:3e-4") == [{"job": "lr:3e-4", "when": "ok"}], "a name may hold a colon"
    for nothing in ("", ",", "a,", ":ok"):
        with pytest.raises(UsageError, match="names no job"):
            after(nothing)


def test_causes_of_a_retry_are_exit_codes_and_three_words():
    assert retry_on("1,oom, 075,timeout,signals") == ["1", "oom", "75", "timeout", "signals"]
    for wrong in ("0", "256", "-1", "", "1,", "oomm", "²"):
        with pytest.raises(UsageError, match="no exit code"):
            retry_on(wrong)


def test_who_is_told_is_one_of_four_kinds():
    for whom in ("desktop", "command:tell me, please", "mail:me@example.org", "https://example.org/hook"):
        assert notify(whom) == [whom]
    for nobody in ("", "me", "mail:", "https://", "desktop:0", "ftp://x"):
        with pytest.raises(UsageError, match="nobody to tell"):
            notify(nobody)
