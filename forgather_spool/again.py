"""Whether an attempt that has ended is followed by another: a pure function of spec, outcome, and what was asked.

    ended as                             again when the spec says    and then
    exited 0                             -                           never: it is done
    exited n, killed, timed out, oom     retries, within retry_on    after a pause that doubles
    lost, stopped by the service manager requeue                     at once, then after a pause that doubles
    gave its cards away                  preemptible                 at once; no retry is used up
    cancelled, refused                   -                           never
    anything, and somebody asked for a stop                          never

Light: the runner asks `may_follow` before it puts a job away. Knows no files and no clock.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_DELAY_S = 3600.0  # a delay the user gave may be longer; it then does not grow
REQUEUE_DELAY_S = 10.0  # before the second requeue: a job that brings its machine down must not do so in a loop
SERVICE_MANAGER = "the service manager (SIGTERM)"  # `by` of a job that a shutdown, a logout or `systemctl stop` ended

_WORD_OF = {"killed": "signals", "out_of_memory": "oom", "timed_out": "timeout"}


class Again:
    """Why there is another attempt, and after how long. `retries` and `requeues` are how many there were, with it."""

    __slots__ = ("delay_s", "reason", "requeues", "retries")

    def __init__(self, reason: str, delay_s: float, retries: int, requeues: int) -> None:
        self.reason = reason
        self.delay_s = delay_s
        self.retries = retries
        self.requeues = requeues

    def __repr__(self) -> str:
        return f"Again({self.reason!r}, {self.delay_s:g}, retries={self.retries}, requeues={self.requeues})"


def again(
    spec: Mapping[str, Any],
    outcome: Mapping[str, Any],
    *,
    retries: int,
    requeues: int,
    asked_to_stop: bool,
    gave_way: bool,
) -> Again | None:
    """The attempt to come, if one does. `spec` has its defaults.

    `retries` and `requeues` happened before; `asked_to_stop`: by a person, whether
    or not that is why it ended; `gave_way`: it ended because its cards were asked for.
    """
    if asked_to_stop:
        return None
    if gave_way:
        return Again("preempted", 0.0, retries, requeues)
    if spec["requeue"] and _was_lost(outcome):
        delay_s = _doubled(REQUEUE_DELAY_S, requeues - 1) if requeues else 0.0
        return Again("requeue", delay_s, retries, requeues + 1)
    if retries < spec["retries"] and _was_cause(outcome, spec["retry_on"]):
        return Again("retry", _doubled(spec["retry_delay_s"], retries), retries + 1, requeues)
    return None


def may_follow(spec: Mapping[str, Any], outcome: Mapping[str, Any], *, preempted: bool) -> bool:
    """Whether `again` could say yes: then the job is left for the dispatcher to decide.

    `preempted`: it was asked for its cards, whatever came of that.
    """
    if preempted or (spec["requeue"] and _was_lost(outcome)):
        return True
    return bool(spec["retries"]) and _was_cause(outcome, spec["retry_on"])


def _was_lost(outcome: Mapping[str, Any]) -> bool:
    return outcome["kind"] == "lost" or (outcome["kind"] == "cancelled" and outcome.get("by") == SERVICE_MANAGER)


def is_cause(word: str) -> bool:
    """Whether `retry_on` may hold it: an exit code of a failure, or how a job that did not exit may end."""
    is_code = word.isascii() and word.isdecimal() and len(word) <= 3 and 0 < int(word) < 256
    return is_code or word in _WORD_OF.values()


def _was_cause(outcome: Mapping[str, Any], retry_on: list[str]) -> bool:
    """Whether it failed in a way that is tried again; an empty `retry_on` names every way."""
    kind = outcome["kind"]
    if kind == "exited":
        code = outcome.get("exit_code")
        return code != 0 and (not retry_on or str(code) in retry_on)
    return kind in _WORD_OF and (not retry_on or _WORD_OF[kind] in retry_on)


def _doubled(delay_s: float, times: int) -> float:
    most_s = max(MAX_DELAY_S, delay_s)
    return min(delay_s * 2.0 ** min(times, 64), most_s)
