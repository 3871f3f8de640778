"""Why a waiting job waits, as values and as sentences.

Each pending reason carries the numbers it rests on, a `text` for people and a
`code` for programs. Codes are a promise to scripts: add one only when someone
needs to act differently. `policy.py` finds the reason; nothing is decided here.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from forgather_spool.frozen import dataclass
from forgather_spool.job import GpuRef
from forgather_spool.phrases import at_text, cards, first_of, gib_down, gib_up, have, of_them


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps one job from one card, e.g. `text` "card 2: disabled".

    `code` is one of problem, excluded, disabled, job, foreign_process, memory, reserved, min_priority.
    """

    gpu_index: int
    code: str
    why: str

    @property
    def text(self) -> str:
        return f"card {self.gpu_index}: {self.why}"


@dataclass(frozen=True, slots=True)
class StartsNext:
    """Nothing is in its way: the next pass starts it, on these cards."""

    gpus: tuple[GpuRef, ...]
    code: ClassVar[str] = "starts_next"

    @property
    def text(self) -> str:
        if not self.gpus:
            return "starts at the next pass"
        indexes = ", ".join(str(ref.index) for ref in self.gpus)
        return f"starts at the next pass, on {'card' if len(self.gpus) == 1 else 'cards'} {indexes}"


@dataclass(frozen=True, slots=True)
class Paused:
    """The owner paused the queue; it waits like all others. `problem`: the settings cannot be read, so nobody knows."""

    problem: str | None = None
    code: ClassVar[str] = "paused"

    @property
    def text(self) -> str:
        if self.problem is not None:
            return f"nothing starts until the settings can be read: {self.problem}"
        return "the queue is paused, so nothing starts"


@dataclass(frozen=True, slots=True)
class NeedsMoreCards:
    """It would wait for ever. `host_has` counts neither excluded nor broken cards."""

    asked: int
    host_has: int
    code: ClassVar[str] = "no_such_host_capacity"

    @property
    def text(self) -> str:
        return f"needs more than this host has: {cards(self.asked)} asked, {self.host_has} usable"


@dataclass(frozen=True, slots=True)
class NeedsMoreMemory:
    """It would wait for ever: too few cards are that large, even when empty.

    `largest_bytes` is the most that `asked` cards of this host have each.
    """

    asked: int
    asked_bytes: int
    largest_bytes: int
    code: ClassVar[str] = "no_such_host_capacity"

    @property
    def text(self) -> str:
        asked = f"{cards(self.asked)} with {gib_up(self.asked_bytes)}{' each' if self.asked > 1 else ''} asked"
        return f"needs more than this host has: {asked}, the largest {have(self.asked)} {gib_down(self.largest_bytes)}"


@dataclass(frozen=True, slots=True)
class CardsBusy:
    """Too few cards are free for it now. `details` names what keeps it from each of the others."""

    asked: int
    eligible_free: int
    details: tuple[Obstacle, ...]
    kept_from_at: datetime | None = None
    code: ClassVar[str] = "resources"

    @property
    def text(self) -> str:
        later = "" if self.kept_from_at is None else f"; from {at_text(self.kept_from_at)} on cards are kept for it"
        return f"waits for {cards(self.asked)}: {of_them(self.eligible_free, len(self.details))}{later}"


@dataclass(frozen=True, slots=True)
class CardsKept:
    """Too few cards are free, and these are kept for it as they come free.

    `starts_at` is when it starts at the latest, as the time limits of the jobs it waits for say; where it is None,
    `unknown` says why. `victims` are jobs that were asked to give way to it.
    """

    asked: int
    eligible_free: int
    details: tuple[Obstacle, ...]
    cards: tuple[int, ...]
    starts_at: datetime | None
    unknown: str
    victims: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        return "preempting" if self.victims else "reserved"

    @property
    def text(self) -> str:
        waits = f"waits for {cards(self.asked)}: {of_them(self.eligible_free, len(self.details))}"
        indexes = ", ".join(str(index) for index in self.cards)
        kept = f"{'card' if len(self.cards) == 1 else 'cards'} {indexes} kept for it"
        if self.victims:
            return f"{waits}; {kept}, asked to give way: {first_of(self.victims, 'job')}"
        if self.starts_at is None:
            return f"{waits}; {kept}, when it starts cannot be known: {self.unknown}"
        return f"{waits}; {kept}, starts by {at_text(self.starts_at)}"


@dataclass(frozen=True, slots=True)
class PriorityTooLow:
    """Enough cards are free, but their owner keeps them for `needed` and above: raise it, or wait."""

    asked: int
    priority: int
    needed: int
    eligible_free: int
    details: tuple[Obstacle, ...]
    code: ClassVar[str] = "priority"

    @property
    def text(self) -> str:
        return (
            f"waits for {cards(self.asked)}: {of_them(self.eligible_free, len(self.details))} at priority "
            f"{self.priority}; enough would be at {self.needed}"
        )


@dataclass(frozen=True, slots=True)
class NoCardLimit:
    """It needs no card, and as many such jobs run as may."""

    limit: int
    code: ClassVar[str] = "no_gpu_limit"

    @property
    def text(self) -> str:
        return f"as many jobs without a card run as may at once ({self.limit})"


@dataclass(frozen=True, slots=True)
class NoNvml:
    """It asks for cards, and none can be given: NVML or the owner's policy cannot be read, as `problem` says."""

    problem: str
    code: ClassVar[str] = "no_nvml"

    @property
    def text(self) -> str:
        return f"no card can be given: {self.problem}"


@dataclass(frozen=True, slots=True)
class BeginsLater:
    """It was submitted for a later time."""

    begin_at: datetime
    code: ClassVar[str] = "begin_time"

    @property
    def text(self) -> str:
        return f"does not start before {at_text(self.begin_at)}"


@dataclass(frozen=True, slots=True)
class TriedAgainLater:
    """An attempt failed, and the pause before the next is not over."""

    not_before_at: datetime
    code: ClassVar[str] = "backoff"

    @property
    def text(self) -> str:
        return f"is run again, not before {at_text(self.not_before_at)}"


@dataclass(frozen=True, slots=True)
class AwaitsJobs:
    """Jobs it comes after have not ended."""

    job_ids: tuple[str, ...]
    code: ClassVar[str] = "dependency"

    @property
    def text(self) -> str:
        return f"comes after {first_of(self.job_ids, 'job')}, not ended yet"


@dataclass(frozen=True, slots=True)
class NeverStarts:
    """A job it comes after did not end as it wanted. `then`: it is ended, or put on hold, at the next pass; or held."""

    reason: str
    then: str
    code: ClassVar[str] = "dependency_never"

    @property
    def text(self) -> str:
        if self.then == "held":
            return self.reason
        becomes = "is put on hold" if self.then == "hold" else "is ended"
        return f"can never start, and {becomes}: {self.reason}"


@dataclass(frozen=True, slots=True)
class GroupPaused:
    """Its group is paused."""

    group: str
    code: ClassVar[str] = "group_paused"

    @property
    def text(self) -> str:
        return f"group {self.group} is paused"


@dataclass(frozen=True, slots=True)
class GroupFull:
    """As many of its group run as may, or are to: `kept_for` are jobs that cards are kept for."""

    group: str
    limit: int
    running: int
    kept_for: tuple[str, ...] = ()
    code: ClassVar[str] = "group_limit"

    @property
    def text(self) -> str:
        return f"{self.running} of group {self.group} run, and at most {self.limit} may at once{_next(self.kept_for)}"


@dataclass(frozen=True, slots=True)
class ArrayFull:
    """As many of its array run as may, or are to; `kept_for` as in `GroupFull`."""

    family: str
    limit: int
    running: int
    kept_for: tuple[str, ...] = ()
    code: ClassVar[str] = "array_limit"

    @property
    def text(self) -> str:
        return f"{self.running} of array {self.family} run, and at most {self.limit} may at once{_next(self.kept_for)}"


PendingReason = (
    StartsNext
    | Paused
    | BeginsLater
    | TriedAgainLater
    | AwaitsJobs
    | NeverStarts
    | GroupPaused
    | GroupFull
    | ArrayFull
    | NeedsMoreCards
    | NeedsMoreMemory
    | CardsBusy
    | CardsKept
    | PriorityTooLow
    | NoCardLimit
    | NoNvml
)


def _next(kept_for: tuple[str, ...]) -> str:
    return f"; next is {', '.join(kept_for)}, which cards are kept for" if kept_for else ""
