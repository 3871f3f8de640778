"""``python -m benchmarks [--quick] [--no-write] [NAME]...``: measure, show, and write docs/explanation/performance.*.

Names are those of `GROUPS`; without any, all are measured, and only then are
the files written. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    dataset,
    dataset_remote,
    dataset_server,
    drain,
    idle,
    inside,
    many,
    output,
    plot,
    report,
    scale,
    start,
    submit,
    trainer,
)
from benchmarks.lab import REPOSITORY, Lab, open_lab
from benchmarks.machine import describe
from benchmarks.measure import BenchmarkFailed, Samples
from benchmarks.row import Row, skipped

PAGE_FOLDER = REPOSITORY / "docs/explanation"
GROUPS: dict[str, Callable[[Lab], list[Row]]] = {
    "submit": submit.rows,
    "many": many.rows,
    "scale": scale.rows,
    "idle": idle.rows,
    "output": output.rows,
    "trainer": trainer.rows,
    "dataset": dataset.rows,
    "dataset-remote": dataset_remote.rows,
    "dataset-server": dataset_server.rows,
}
IN_SCOPES = ("start", "drain")


def main() -> int:
    options = _options()
    names = options.name or [*IN_SCOPES, *GROUPS]
    with tempfile.TemporaryDirectory(prefix="forgather-bench-") as folder:
        _tell("installing into a clean environment")
        lab = open_lab(Path(folder), quick=options.quick)
        scopes = "not measured"
        rows: list[Row] = []
        if set(names) & set(IN_SCOPES):
            found, scopes = _in_scopes(lab, [name for name in IN_SCOPES if name in names])
            rows += found
        for name in [name for name in GROUPS if name in names]:
            _tell(name)
            rows += GROUPS[name](lab)
        machine = describe(Path(folder), scopes)
    print(report.as_text(rows))
    if not options.no_write and not options.name and not options.quick:
        images = plot.draw(PAGE_FOLDER / "img", rows)
        report.write(PAGE_FOLDER, rows, machine, images)
        _tell(f"written: {PAGE_FOLDER}/performance.md, performance.json")
    return 1 if any(row.verdict == "missed" for row in rows) else 0


def _in_scopes(lab: Lab, names: list[str]) -> tuple[list[Row], str]:
    """The rows of `start` and `drain`, and where the scopes were."""
    _tell("start and drain, in scopes and embedded")
    samples, where = inside.measure_in_scopes(lab, names)
    taken: dict[str, dict[str, Samples]] = samples or {
        name: {"start": start.measure, "drain": drain.measure}[name](lab, systemd=False) for name in names
    }
    rows = []
    for name in names:
        rows += {"start": start.rows, "drain": drain.rows}[name](taken[name])
        if samples is None:
            rows.append(skipped(rows[-1].group, "in scopes", where))
    return rows, where


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few rounds of each; the files stay as they are")
    parser.add_argument("--no-write", action="store_true", help="leave the files of the documentation as they are")
    parser.add_argument("name", nargs="*", choices=[*IN_SCOPES, *GROUPS, []], help="measure only these")
    return parser.parse_args()


def _tell(line: str) -> None:
    print(f"# {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkFailed as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(70)
