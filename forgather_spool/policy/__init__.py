"""Which waiting jobs start now, on which cards, who is asked to give way, and why the others wait.

One pure function of values, `decide`: no clock, no files, no NVML.

    values.py    what it rests on and what it says
    gates.py     what keeps a job waiting however many cards are free
    cards.py     what keeps a job from one card
    place.py     which cards a job gets
    preempt.py   who is asked to give way for it
    reserve.py   which cards are kept for one that has waited long
    decide.py    the walk over the queue
    explain.py   the pending reasons
"""

from __future__ import annotations

from forgather_spool.policy.decide import Decision, decide
from forgather_spool.policy.given_up import GivenUp
from forgather_spool.policy.values import (
    MET,
    After,
    AfterState,
    Asks,
    Group,
    Holder,
    Kept,
    Met,
    Never,
    NeverMet,
    Preempt,
    Shapes,
    Start,
    Unmet,
    View,
    Waiting,
)

__all__ = [
    "MET",
    "After",
    "AfterState",
    "Asks",
    "Decision",
    "GivenUp",
    "Group",
    "Holder",
    "Kept",
    "Met",
    "Never",
    "NeverMet",
    "Preempt",
    "Shapes",
    "Start",
    "Unmet",
    "View",
    "Waiting",
    "decide",
]
