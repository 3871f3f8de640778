"""How an attempt of a job ended: one type for each way, with exactly the facts it has.

A state written to disk is a promise: these words are few, and one more is added
only when somebody has to act differently. The tables that check the documents
are in `schema.py`. Knows nothing of files.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from typing import Any

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument
from forgather_spool.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Exited:
    """The command ended by itself."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class Killed:
    """A signal ended the command, and nobody asked us for it."""

    signal: int


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Its time limit ran out and it was stopped."""

    limit_s: float


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The kernel killed it for memory (`memory.events` of its scope says so)."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for it to be stopped, while it waited or ran."""

    by: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The scope is gone and left no result: power cut, or the runner itself was killed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It could not be started: no such directory, no such command, no permission."""

    reason: str


Outcome = Exited | Killed | TimedOut | OutOfMemory | Cancelled | Lost | Refused


def outcome_from_document(document: Mapping[str, Any]) -> Outcome:
    """The outcome a ``result.json`` spells. Raises BadDocument."""
    full: dict[str, Any] = schema.check(dict(document), schema.OUTCOME, where="$.outcome")
    kind, needed = full["kind"], _FACT_OF[full["kind"]]
    if needed is None:
        return OutOfMemory()
    if full[needed] is None:
        raise BadDocument(f"$.outcome.{needed}", f"is required when kind is {kind}")
    outcome: Outcome = _OUTCOMES[kind](full[needed])
    return outcome


def outcome_as_document(outcome: Outcome) -> Document:
    kind = next(kind for kind, cls in _OUTCOMES.items() if isinstance(outcome, cls))
    fact = _FACT_OF[kind]
    return {"kind": kind} if fact is None else {"kind": kind, fact: getattr(outcome, fact)}


_OUTCOMES: dict[str, Any] = {
    "exited": Exited,
    "killed": Killed,
    "timed_out": TimedOut,
    "out_of_memory": OutOfMemory,
    "cancelled": Cancelled,
    "lost": Lost,
    "refused": Refused,
}
_FACT_OF = {
    "exited": "exit_code",
    "killed": "signal",
    "timed_out": "limit_s",
    "out_of_memory": None,
    "cancelled": "by",
    "lost": "reason",
    "refused": "reason",
}


def exit_status_of(outcome: Outcome) -> int:
    """What a shell would show for it: `job wait` and `job tail` exit with this.

    A signal is 128 + its number, as in bash(1); a time limit is 124, as in timeout(1).
    """
    match outcome:
        case Exited(code):
            return code
        case Killed(signal):
            return 128 + signal
        case OutOfMemory():
            return 128 + signals.SIGKILL
        case TimedOut():
            return 124
        case _:
            return 1


OUTCOME_WORDS = ("ok", "failed", *_OUTCOMES)  # what --outcome takes


def words_for(outcome: Outcome) -> frozenset[str]:
    """Its kind, and `ok` when it exited with 0, else `failed` unless somebody cancelled it."""
    kind = next(kind for kind, cls in _OUTCOMES.items() if isinstance(outcome, cls))
    if outcome == Exited(0):
        return frozenset({kind, "ok"})
    return frozenset({kind} if isinstance(outcome, Cancelled) else {kind, "failed"})


def describe(outcome: Outcome) -> str:
    """One phrase for a table or a message."""
    match outcome:
        case Exited(code):
            return f"exited {code}"
        case Killed(signal):
            return f"killed by {signal_name(signal)}"
        case TimedOut(limit_s):
            return f"timed out after {limit_s:g} s"
        case OutOfMemory():
            return "out of memory"
        case Cancelled(by):
            return f"cancelled by {by}"
        case Lost(reason):
            return f"lost: {reason}"
        case Refused(reason):
            return f"refused: {reason}"


def signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
