"""What to do with a job that lies in running/<host>/: the state table as one pure function.

    started  result  runner     scope      next step
       ?       +     alive        ?        WAIT, when it is to run again: until its runner has gone
       ?       +       ?          ?        AGAIN, when it is to run again: the next attempt, back to the queue
       ?       +       ?          ?        FINISH otherwise: move the spec to done/
       +       -     alive        ?        WAIT: it runs
       +       -     gone      populated   END_REMAINS: stop what the dead runner left behind
       +       -     gone       empty      LOSE: write the result `lost`
       -       -     alive        ?        WAIT: its runner is about to start, or to give up
       -       -     gone         ?        PUT_BACK: withdraw the claim, back to the queue

"gone" covers a restart of the machine: another boot id, and every process of
then has ended. Knows no files and no clock.
"""

from __future__ import annotations

from enum import Enum, auto

from forgather_spool.frozen import dataclass


class Step(Enum):
    """The one thing to do next for a job in running/<host>/."""

    FINISH = auto()
    AGAIN = auto()
    WAIT = auto()
    END_REMAINS = auto()
    LOSE = auto()
    PUT_BACK = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What stands in the job's folder and lives on the machine, at one moment.

    Look at the machine first and at the files after it: a runner that ends in
    between has then left its result.
    """

    started: bool
    result: bool
    runner_alive: bool
    scope_populated: bool
    again: bool = False  # with this result the job is run again


def next_step(facts: Facts) -> Step:
    """The step the table names; every combination has one."""
    if facts.result and not facts.again:
        return Step.FINISH
    if facts.runner_alive:
        return Step.WAIT
    if facts.result:
        return Step.AGAIN
    if not facts.started:
        return Step.PUT_BACK
    return Step.END_REMAINS if facts.scope_populated else Step.LOSE
