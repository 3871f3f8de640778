"""Every JSON document that comes from a file, a line or a socket: 100,000 spoilt ones each.

Each is read as far as the program goes with it: what a parser lets through is
decided on, computed with and shown, and none of that may fail either. With
`make test-long` it is a million.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from forgather_spool import command, schema
from forgather_spool.again import again
from forgather_spool.cli import spans
from forgather_spool.document import dump, parse
from forgather_spool.endpoint.routes import Reply, Routes
from forgather_spool.errors import BadDocument
from forgather_spool.gpu import GpuPolicy
from forgather_spool.job import Claim, JobSpec, Result, RunAgain, format_at
from forgather_spool.outcome import describe, exit_status_of, words_for
from forgather_spool.phrases import at_text
from forgather_spool.policy.values import Shapes, ends_by
from forgather_spool.spool import batch, settings
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.retention import Retention, _before
from forgather_spool.trainer.listener import _unix_s
from forgather_spool.trainers import JobInfo
from tests.fuzz import mutate, seeds
from tests.fuzz.endure import endure

NOW = datetime(2026, 11, 21, tzinfo=UTC)
Parser = Callable[[bytes], object]


def a_spec(data: bytes) -> None:
    """As it is admitted, waits, runs again and is shown."""
    document = parse(data)
    spec = JobSpec.from_document(document, unknown="refuse")
    batch.members_of(schema.check(document, schema.SPEC))
    asks = Shapes().of(schema.check(document, schema.SPEC))
    if asks.begin_at is not None:
        spans.ago(asks.begin_at, NOW)
        at_text(asks.begin_at)
        _ = asks.begin_at + timedelta(days=3650)
    ends_by(NOW, asks.terms)
    full: dict[str, Any] = schema.check(document, schema.SPEC)
    again(full, {"kind": "exited", "exit_code": 1}, retries=0, requeues=0, asked_to_stop=False, gave_way=False)
    assert spec.argv
    assert parse(dump(document)) == document


def a_claim(data: bytes) -> None:
    claim = Claim.from_document(parse(data))
    ends_by(claim.claimed_at, claim.terms)
    spans.ago(claim.claimed_at, NOW)
    assert Claim.from_document(parse(dump(claim.as_document()))) == claim


def a_result(data: bytes) -> None:
    result = Result.from_document(parse(data))
    describe(result.outcome)
    words_for(result.outcome)
    assert 0 <= exit_status_of(result.outcome) <= 255
    at_text(result.ended_at)
    spans.ago(result.started_at, NOW)
    assert len(format_at(result.ended_at + timedelta(days=1))) == len(seeds.AT)


def an_again(data: bytes) -> None:
    found = RunAgain.from_document(parse(data))
    assert found.text
    if found.not_before_at is not None:
        at_text(found.not_before_at)


def a_gpu_policy(data: bytes) -> None:
    policy = GpuPolicy.from_document(parse(data))
    assert GpuPolicy.from_document(parse(dump(policy.as_document()))) == policy


def dispatch_settings(data: bytes) -> None:
    full: dict[str, Any] = settings._checked("dispatch.json", parse(data))
    if full["retention"] is not None:
        retention = Retention.from_document(full["retention"])
        _before(NOW, retention.older_than_s or 0.0)


def a_command(data: bytes) -> None:
    full: dict[str, Any] = schema.check(parse(data), command.COMMAND)
    _unix_s(full["deadline_at"])


def a_status(data: bytes) -> None:
    dump(command.flat_status(schema.check(parse(data), command.STATUS)))


def an_endpoint(data: bytes) -> None:
    info = JobInfo(schema.check(parse(data), command.ENDPOINT))
    at_text(info.started_at)
    assert info.endpoint_url != ""


def checked_as(table: dict[str, Any]) -> Parser:
    return lambda data: dump(schema.check(parse(data), table))


DOCUMENTS: tuple[tuple[str, Parser, tuple[object, ...]], ...] = (
    ("spec", a_spec, seeds.SPECS),
    ("claim", a_claim, (seeds.CLAIM,)),
    ("result", a_result, seeds.RESULTS),
    ("again", an_again, seeds.AGAIN),
    ("gpu_policy", a_gpu_policy, (seeds.GPU_POLICY,)),
    ("dispatch", dispatch_settings, (seeds.DISPATCH,)),
    ("command", a_command, (seeds.COMMAND,)),
    ("acknowledgement", checked_as(command.ACKNOWLEDGEMENT), (seeds.ACKNOWLEDGEMENT,)),
    ("status", a_status, (seeds.STATUS,)),
    ("endpoint", an_endpoint, (seeds.ENDPOINT,)),
    ("stop", checked_as(schema.STOP_REQUEST), (seeds.STOP,)),
    ("preempt", checked_as(schema.PREEMPT), (seeds.PREEMPT,)),
    ("host", checked_as(schema.HOST), (seeds.HOST,)),
)


@pytest.mark.parametrize(("name", "parser", "good"), DOCUMENTS, ids=[name for name, _, _ in DOCUMENTS])
def test_a_spoilt_document_is_read_or_refused_by_name(name: str, parser: Parser, good: tuple[object, ...]) -> None:
    taken, refused = endure(mutate.documents(good, seed=1), parser, BadDocument)

    assert taken > 100 and refused > 100, "these documents try nothing"


def _at_once(coroutine: Coroutine[Any, Any, Reply]) -> Reply:
    """What it returns; it awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def test_a_posted_body_is_answered_whatever_it_and_the_query_are(tmp_path: Path) -> None:
    """400 for what is no command; nothing of it may end the trainer's thread."""
    routes = Routes(Paths(str(tmp_path)), seeds.JOB, lambda name: False)
    queries = mutate.texts(["wait=5", "wait=1e3&a=b", "&&&&&&&&&&&&&wait=1", ""], seed=2)

    def post(data: bytes) -> None:
        status, reply = _at_once(routes.reply(f"/jobs/{seeds.JOB}/control", next(queries), data))
        assert status == 400, (status, reply)
        dump(reply)

    endure(mutate.documents(seeds.POSTS, seed=3), post)
