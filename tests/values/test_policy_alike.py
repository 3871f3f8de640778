"""Jobs that ask alike are looked at once, and that changes no decision."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from forgather_spool.job import Terms
from forgather_spool.policy import Asks, Group, Shapes, Waiting, decide
from forgather_spool.policy.given_up import GivenUp
from tests.values.policy_cases import card, holder, host, submitted

LIMITS_S = st.sampled_from([None, 60.0, 600.0, 1200.0, 1201.0, 3600.0])
SPECS = st.fixed_dictionaries(
    {
        "gpus": st.sampled_from([0, 1, 1, 2, 3]),
        "time_limit_s": LIMITS_S,
        "preemptible": st.booleans(),
        "group": st.sampled_from([None, None, "a"]),
    }
)
JOBS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 90), SPECS), max_size=12)
HOLDERS = st.lists(st.tuples(st.integers(0, 25), LIMITS_S, st.booleans()), max_size=3)


class NeverGivesUp(GivenUp):
    """Looks at each as if it were the first."""

    def covers(self, asks: Asks, priority: int) -> bool:
        return False

    def has_no_place(self, entry: Waiting) -> bool:
        return False


def one(gpus, time_limit_s=None):
    return {"gpus": gpus, "time_limit_s": time_limit_s, "preemptible": False, "group": None}


@settings(deadline=None, max_examples=400)
@example(  # only if another gives way does the wait of the wide one get an end, which a short one may come before
    jobs=[(0, 0, one(1)), (0, 0, one(1, 60.0)), (0, 30, one(2))],
    holders=[(0, None, False), (0, None, True), (0, 60.0, False)],
    limit=None,
)
@given(jobs=JOBS, holders=HOLDERS, limit=st.sampled_from([None, 1]))
def test_what_is_known_of_one_is_true_of_all_that_ask_alike_and_last_longer(jobs, holders, limit):
    """What starts, who is asked to give way and what is kept is the same as when each is looked at by itself."""
    shapes = Shapes()
    waiting = sorted(
        (Waiting(submitted(minutes, n), priority, shapes.of(spec)) for n, (priority, minutes, spec) in enumerate(jobs)),
        key=lambda entry: (-entry.priority, entry.job_id),
    )
    held = [
        replace(
            holder(f"q_{n}", n, minutes_ago=minutes),
            priority=-1,
            terms=Terms(time_limit_s=limit_s, preemptible=preemptible),
        )
        for n, (minutes, limit_s, preemptible) in enumerate(holders)
    ]
    view = replace(
        host(*(card(index) for index in range(3)), holders=held, reserve_after_s=1800.0),
        no_gpu_limit=1,
        groups={"a": Group(limit=limit)},
    )

    quick, thorough = decide(waiting, view), decide(waiting, view, NeverGivesUp())

    assert (quick.starts, quick.preempt, quick.kept) == (thorough.starts, thorough.preempt, thorough.kept)


def test_a_hundred_with_limits_of_their_own_are_looked_at_as_one(monkeypatch):
    """Under cards that are kept, those too long to fill the gap are alike, however long each is."""
    view = host(card(0), card(1), holders=[holder("q_1", 0, minutes_ago=10, time_limit_s=1800)], reserve_after_s=1800.0)
    shapes, given_up = Shapes(), GivenUp()
    wide = Waiting(submitted(40), 0, shapes.of({"gpus": 2}))
    long = [Waiting(f"q_{n}", 0, shapes.of({"gpus": 1, "time_limit_s": 9000.0 - n})) for n in range(100)]
    looked_at = []
    has_no_place = given_up.has_no_place
    monkeypatch.setattr(GivenUp, "has_no_place", lambda _, entry: looked_at.append(entry) or has_no_place(entry))

    decide([wide, *long], view, given_up)

    assert looked_at == [wide, long[0]]
