"""A job as values: what was asked, who took it, which attempt of it this is.

Documents on disk become these where something is decided or shown; a state
that cannot be is not spelled. The tables that check the documents are in
`schema.py`. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument
from forgather_spool.frozen import dataclass
from forgather_spool.outcome import Outcome, describe, outcome_from_document


class State(StrEnum):
    """Where a job stands; see the table in `docs/reference/spool-format.md`."""

    WAITING = "waiting"
    HELD = "held"
    LAUNCHING = "launching"
    RUNNING = "running"
    ENDING = "ending"
    DONE = "done"
    REJECTED = "rejected"


def format_at(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, e.g. ``2026-11-21T03:40:12.123456Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_at(text: str, where: str = "$") -> datetime:
    """The aware UTC time `text` spells. Raises BadDocument.

    Of the years 1970 to 9000: with years added, or in any zone, it stays a time.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadDocument(where, f"{text!r} is not an RFC 3339 time") from None
    if at.tzinfo is None:
        raise BadDocument(where, f"{text!r} names no time zone")
    if not schema.FIRST_YEAR <= at.year <= schema.LAST_YEAR:
        raise BadDocument(where, f"{text!r} is not within the years {schema.FIRST_YEAR} to {schema.LAST_YEAR}")
    return at.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the user asked for. `document` is the whole of it, unknown keys included."""

    argv: tuple[str, ...]
    cwd: str | None
    env: Mapping[str, str]
    name: str | None
    gpus: int
    gpu_memory_bytes: int | None
    priority: int
    time_limit_s: float | None
    memory_bytes: int | None
    cpus: float | None
    tty: bool
    grace_s: float
    type: str
    script: str | None
    group: str | None
    document: Document

    @classmethod
    def from_document(cls, document: Document, *, unknown: str = "keep") -> Self:
        """Checked and with defaults. `unknown="refuse"` where a spec enters the spool. Raises BadDocument."""
        full: dict[str, Any] = schema.check(document, schema.SPEC, unknown=unknown)
        values = {name: full[name] for name in cls.__slots__ if name not in ("argv", "document")}
        return cls(argv=tuple(full["argv"]), document=document, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRef:
    """A card as a claim names it: the UUID where NVML gave one, the index always."""

    index: int
    uuid: str | None

    def as_document(self) -> Document:
        return {"index": self.index, "uuid": self.uuid}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What of a spec still counts while its job holds cards or a place: its share, its end, may it be asked to go.

    A claim keeps them, so that nobody reads the specs of running jobs.
    """

    gpu_memory_bytes: int | None = None
    shared: bool = False
    jobs_per_gpu: int | None = None
    preemptible: bool = False
    time_limit_s: float | None = None
    grace_s: float = 10.0
    group: str | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Of a checked spec, or of a claim's `terms`; what is absent takes its default."""
        return cls(**{name: document[name] for name in cls.__slots__ if name in document})

    def as_document(self) -> Document:
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def shares(self) -> bool:
        """Whether others may be on its cards with it. A job that says neither how much nor how many has them alone."""
        return self.jobs_per_gpu is not None or (self.shared and self.gpu_memory_bytes is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt of one job on one host, as ``claim.json`` and then ``started.json`` hold it."""

    attempt: int
    host: str
    host_kind: str
    boot_id: str
    scope: str
    priority: int
    gpus: tuple[GpuRef, ...]
    runner_pid: int
    runner_start_ticks: int
    claimed_at: datetime
    terms: Terms = Terms()

    def as_document(self) -> Document:
        return {
            "version": schema.VERSION,
            "attempt": self.attempt,
            "host": self.host,
            "host_kind": self.host_kind,
            "boot_id": self.boot_id,
            "scope": self.scope,
            "priority": self.priority,
            "gpus": [ref.as_document() for ref in self.gpus],
            "runner": {"pid": self.runner_pid, "start_ticks": self.runner_start_ticks},
            "claimed_at": format_at(self.claimed_at),
            "terms": self.terms.as_document(),
        }

    @classmethod
    def from_document(cls, document: Document) -> Self:
        full: dict[str, Any] = schema.check(document, schema.CLAIM)
        return cls(
            attempt=full["attempt"],
            host=full["host"],
            host_kind=full["host_kind"],
            boot_id=full["boot_id"],
            scope=full["scope"],
            priority=full["priority"],
            gpus=tuple(GpuRef(index=ref["index"], uuid=ref.get("uuid")) for ref in full["gpus"]),
            runner_pid=full["runner"]["pid"],
            runner_start_ticks=full["runner"]["start_ticks"],
            claimed_at=parse_at(full["claimed_at"], "$.claimed_at"),
            terms=Terms.from_document(full["terms"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one attempt ended. `document` is the whole of ``result.json``."""

    attempt: int
    outcome: Outcome
    started_at: datetime | None
    ended_at: datetime
    document: Document

    @classmethod
    def from_document(cls, document: Document) -> Self:
        full: dict[str, Any] = schema.check(document, schema.RESULT)
        started_at = full["started_at"]
        return cls(
            attempt=full["attempt"],
            outcome=outcome_from_document(full["outcome"]),
            started_at=None if started_at is None else parse_at(started_at, "$.started_at"),
            ended_at=parse_at(full["ended_at"], "$.ended_at"),
            document=document,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAgain:
    """Why there is an attempt after another: the ``again.json`` in its folder."""

    reason: str
    retries: int
    not_before_at: datetime | None
    after: Outcome
    gave_way_to: str | None

    @classmethod
    def from_document(cls, document: Document) -> Self:
        full: dict[str, Any] = schema.check(document, schema.AGAIN)
        not_before_at = full["not_before_at"]
        return cls(
            reason=full["reason"],
            retries=full["retries"],
            not_before_at=None if not_before_at is None else parse_at(not_before_at, "$.not_before_at"),
            after=outcome_from_document(full["after_outcome"]),
            gave_way_to=full["gave_way_to"],
        )

    @property
    def text(self) -> str:
        """One phrase: "preempted by q_...", "retry 2 after: exited 7"."""
        if self.reason == "preempted":
            return f"preempted by {self.gave_way_to or 'another job'}"
        count = f"retry {self.retries}" if self.reason == "retry" else "run again"
        return f"{count} after: {describe(self.after)}"
