"""What a decision rests on, and what it says: jobs, holders, the host's view, starts.

Values only. A job that waits is its id, its priority and its `Asks`; jobs that
ask alike should share one `Asks` object (`Shapes` sees to it): then the
100,000 members of an array cost the policy no more than one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from forgather_spool.frozen import dataclass, field, replace
from forgather_spool.gpu import Gpu, GpuPolicy
from forgather_spool.job import GpuRef, Terms, parse_at

END_MARGIN_S = 10.0  # from a claim to the start, and from KILL to cards that are free
PLAIN = Terms()


@dataclass(frozen=True, slots=True)
class After:
    """One job that must have ended first. `when` is ok, any or notok."""

    job_id: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What of a spec decides a job's turn. `family`: id of the array it is a member of.

    `kin`: the one object for all who ask alike but for the time limit, without any; None for that one itself.
    `lasts_s`: from its start to the end of its grace at the latest.
    """

    gpus: int = 0
    terms: Terms = PLAIN
    begin_at: datetime | None = None
    after: tuple[After, ...] = ()
    after_unmet: str = "end"
    family: str | None = None
    family_limit: int | None = None
    kin: Asks | None = field(default=None, compare=False, repr=False)
    lasts_s: float = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        limit_s = self.terms.time_limit_s
        object.__setattr__(self, "lasts_s", math.inf if limit_s is None else limit_s + self.terms.grace_s)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], family: str | None = None) -> Asks:
        """Of a spec that `schema.check` has passed. Raises BadDocument: `begin_at` is no time."""
        begin_at, array = spec.get("begin_at"), spec.get("array") or {}
        return cls(
            gpus=spec.get("gpus", 0),
            terms=Terms.from_document(spec),
            begin_at=None if begin_at is None else parse_at(begin_at, "$.begin_at"),
            after=tuple(After(entry["job"], entry.get("when", "ok")) for entry in spec.get("after", ())),
            after_unmet=spec.get("after_unmet", "end"),
            family=family,
            family_limit=array.get("limit"),
        )


class Shapes:
    """Gives those who ask alike one `Asks` object."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Asks, Asks] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, spec: Mapping[str, Any], family: str | None = None) -> Asks:
        """As `Asks.from_spec`."""
        asks = Asks.from_spec(spec, family)
        known = self._known.get(asks)
        if known is None and asks.terms.time_limit_s is not None:
            kin = replace(asks, terms=replace(asks.terms, time_limit_s=None))
            asks = replace(asks, kin=self._known.setdefault(kin, kin))
        return known or self._known.setdefault(asks, asks)


@dataclass(frozen=True, slots=True)
class Met:
    """Every job it waits for has ended as it wanted."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """Some it waits for have not ended."""

    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Never:
    """One it waits for has ended otherwise, or is gone: `reason` is a sentence."""

    reason: str


AfterState = Met | Unmet | Never
MET = Met()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job. `after` is how its dependencies stand; `not_before_at` is when it may be tried again."""

    job_id: str
    priority: int
    asks: Asks
    after: AfterState = MET
    not_before_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A job that launches or runs here, or has ended and not let go of its cards (`ended`).

    `cards` are indexes. `going`: its cards come free soon, since it was asked to stop or has ended;
    `going_for` is the waiting job it was asked to give way to.
    """

    job_id: str
    priority: int
    cards: tuple[int, ...]
    terms: Terms = PLAIN
    started_at: datetime
    family: str | None = None
    going: bool = False
    going_for: str | None = None
    ended: bool = False

    @property
    def ends_by_at(self) -> datetime | None:
        """When its cards are free at the latest; None: it has no time limit."""
        return ends_by(self.started_at, self.terms)


def ends_by(started_at: datetime, terms: Terms) -> datetime | None:
    """When a job that starts then has let go of its cards at the latest; None without a time limit."""
    if terms.time_limit_s is None:
        return None
    return started_at + timedelta(seconds=terms.time_limit_s + terms.grace_s + END_MARGIN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What the owner set for a group. `limit` None: none."""

    limit: int | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """This host and its owner's wishes at one moment; all that is decided rests on it.

    `our_pids`: process to job, for every process of our jobs on a card; others
    that compute there are foreign. `nvml_problem` says why no card can be seen;
    None when they can. `settings_problem` says why it is `paused`, where the
    owner did not ask for that. `reserve_after_s` None: cards are never kept for a job.
    """

    now: datetime
    gpus: Sequence[Gpu]
    policy: GpuPolicy
    holders: Sequence[Holder] = ()
    our_pids: Mapping[int, str] = field(default_factory=dict)
    no_gpu_limit: int
    groups: Mapping[str, Group] = field(default_factory=dict)
    reserve_after_s: float | None = None
    paused: bool = False
    settings_problem: str | None = None
    nvml_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """One job to start now. `gpus` are sorted by index; empty for a job that asked for none."""

    job_id: str
    gpus: tuple[GpuRef, ...]
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Preempt:
    """A running job to ask for its cards, and the waiting job they are for."""

    victim_job_id: str
    for_job_id: str


@dataclass(frozen=True, slots=True)
class NeverMet:
    """A waiting job whose dependencies can never be met. `then` is what its spec wants: end or hold."""

    job_id: str
    priority: int
    reason: str
    then: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Cards kept for one waiting job: until it starts, others get them only if they end before `starts_at`.

    `starts_at` is when it starts at the latest; None: not known, and `unknown` says why. `victims`: it has asked
    these to give way. Its place in its group and its array is kept in the same way: cards that come free for a job
    whose group has filled up meanwhile would be no help to it.
    """

    entry: Waiting
    cards: frozenset[int]
    starts_at: datetime | None = None
    unknown: str = ""
    victims: tuple[str, ...] = ()

    @property
    def job_id(self) -> str:
        return self.entry.job_id
