"""Every text that comes from a command line, a name in a folder or a URI: 100,000 spoilt ones each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from forgather_spool import array
from forgather_spool.cli import history, quantities
from forgather_spool.cli.submit import order_words
from forgather_spool.errors import BadDocument, ForgatherError, UsageError
from forgather_spool.gpu import excluded_indices
from forgather_spool.notify import target
from forgather_spool.policy.reserve import _submitted_at
from forgather_spool.spool import names
from forgather_spool.tls import bundle
from tests.fuzz import mutate, seeds
from tests.fuzz.endure import endure

NOW = datetime(2026, 11, 21, 3, 40, tzinfo=UTC)


def an_array(text: str) -> None:
    members = array.indexes(text)
    assert members == sorted(set(members)) and len(members) == array.size(text)
    if len(members) < 1000:
        assert array.indexes(array.spell(members)) == members


def a_begin(text: str) -> None:
    at = order_words.begin_at(text, NOW)
    assert at.isascii() and at.endswith("Z")


def an_after(text: str) -> None:
    for wish in order_words.after(text):
        assert wish["job"] and wish["when"] in order_words.WHEN_WORDS


def a_size(text: str) -> None:
    assert 0 <= quantities.size_bytes(text) < 1 << 128


def a_duration(text: str) -> None:
    assert 0 <= quantities.duration_s(text) < float("inf")


def a_bundle(text: str) -> None:
    found = bundle.parse(text)
    assert 0 <= found.port < 1 << 16 and found.host
    assert bundle.parse(bundle.spell(found)) == found


def a_name(text: str) -> None:
    """Of a file in queue/: ours, and then all that is read from it can be; or nobody's."""
    entry = names.parse_entry(text)
    if entry is None:
        return
    minus, job_id = entry
    assert names.parse_entry(names.entry_name(job_id, -minus)) == entry and "/" not in job_id
    _submitted_at(job_id)
    names.start_order(entry)
    names.index_of(job_id)
    names.family_of(job_id)


def visible_devices(text: str) -> None:
    assert excluded_indices(text, [(0, "GPU-aa"), (1, "MIG-GPU-bb")]) <= {0, 1}


WORDS: tuple[tuple[str, Callable[[str], object], list[str], type[ForgatherError]], ...] = (
    ("array", an_array, ["0-99", "0-99:10", "1,3,5-9", "7", "900000-999999:1000"], BadDocument),
    ("array-limit", array.with_limit, ["0-99%4", "1,3%1", "0-9:2%10"], BadDocument),
    (
        "begin",
        a_begin,
        ["now+2h", "+90m", "16:00", "noon", "tomorrow 8:00", "2026-11-22 08:00", "2027-01-01T08:00:00Z", "9999-12-31"],
        UsageError,
    ),
    ("after", an_after, [f"{seeds.JOB}:ok,train:any", "a:notok", "x"], UsageError),
    ("retry-on", order_words.retry_on, ["1,137,signals", "oom,timeout"], UsageError),
    ("notify", target.parse, ["mail:a@b.c", "https://a.b:80/c?d", "command:x y", "desktop"], UsageError),
    ("size", a_size, ["10G", "1.5GiB", "4096", "0.1T", "7kB"], UsageError),
    ("duration", a_duration, ["90", "1h30m", "36:00:00", "1.5d", "2h5s"], UsageError),
    ("when", history._when, ["2026-11-20", "2026-11-20 08:00", "3d", "2026-11-20T08:00:00Z"], UsageError),
    ("number", quantities.whole_number, ["2", "-17", "+3"], UsageError),
    ("decimal", quantities.decimal_number, ["1.5", "2"], UsageError),
    (
        "bundle",
        a_bundle,
        [
            "forgather-dataset://host.example:8443/?token=abc%2Fdef&tls=1",
            "forgather-dataset://[::1]:80/",
            "forgather-dataset://10.0.0.1:9/?token=x",
        ],
        UsageError,
    ),
    (
        "entry",
        a_name,
        [f"{seeds.JOB}.p0.json", f"{seeds.JOB}[7].p-15.json", "q_9999999999999999_00000000.p1.json"],
        UsageError,
    ),
    ("visible", visible_devices, ["0,1", "GPU-aa", "MIG-GPU-bb/1/2", "-1", ""], UsageError),
)


DEAR = {"array": 20, "array-limit": 5}  # many of these spell a million members


@pytest.mark.parametrize(("name", "parser", "good", "refusal"), WORDS, ids=[name for name, *_ in WORDS])
def test_spoilt_words_are_understood_or_refused(name, parser, good: list[str], refusal: type[ForgatherError]) -> None:
    taken, _ = endure(mutate.texts(good, seed=4), parser, refusal, share=DEAR.get(name, 1))

    assert taken > 100, "these words try nothing"
