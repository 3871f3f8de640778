"""What one `forgather submit` costs, the whole process, against an interpreter that does nothing."""

from __future__ import annotations

from pathlib import Path

from benchmarks import peers
from benchmarks.lab import Lab
from benchmarks.measure import in_turns, runs
from benchmarks.row import Row, at_most, from_samples
from benchmarks.spools import dispatcher, fill, set_dispatch

GROUP = "submit"
PAUSE_S = 0.02  # lets the dispatcher finish with what it was told, so that it does not take part in the next turn


def rows(lab: Lab) -> list[Row]:
    queued = 1000 if lab.quick else 10_000
    homes = [lab.home("submit-empty"), lab.home("submit-full")]
    fill(homes[1], queued)
    for home in homes:
        set_dispatch(home, paused=True)
    empty, full = map(lab.embedded, homes)
    words: list[str | Path] = [lab.forgather, "submit", "--", "true"]
    actions = {
        "floor": runs([lab.python, "-c", "pass"], empty),
        "empty": runs(words, empty),
        "full": runs(words, full),
        "isolated": runs([lab.python, "-I", "-S", "-c", "pass"], empty),
        **{name: runs([*peers.SUBMIT[name], "true"], peers.environment(lab)) for name in peers.installed()},
    }
    with dispatcher(lab, empty), dispatcher(lab, full):
        taken = in_turns(actions, lab.rounds(60), pause_s=PAUSE_S)
    peers.end(lab)
    floor, name = taken["floor"], "python3 -c pass"
    found = [
        from_samples(GROUP, "forgather submit", taken["empty"], peer=name, against=floor, bar=at_most(2.5, "ratio")),
        from_samples(
            GROUP, f"forgather submit, {queued:,} queued", taken["full"], peer=name, against=floor,
            bar=at_most(2.5, "ratio"),
        ),
        from_samples(GROUP, "python3 -I -S -c pass", taken["isolated"], peer=name, against=floor),
    ]  # fmt: skip
    found += [
        from_samples(GROUP, peer, taken[peer], peer=name, against=floor) for peer in peers.SUBMIT if peer in taken
    ]
    return found
