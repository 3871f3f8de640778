"""`forgather logs`: what training runs logged, in words and as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast

import click

from forgather_spool.cli import tell
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.show import shown
from forgather_spool.cli.table import render, terminal_width
from forgather_spool.errors import ForgatherError, StorageFailed, UsageError
from forgather_spool.phrases import local
from forgather_spool.runs import summary as facts
from forgather_spool.runs.chain import with_what_it_continues
from forgather_spool.runs.curves import Curve, Lines, curves, panels
from forgather_spool.runs.find import run_files
from forgather_spool.runs.plot import FORMATS, Look, picture
from forgather_spool.runs.read import Axis, Run, read_run
from forgather_spool.runs.terminal import drawing


class _Named(click.Path):
    """A path; an empty word, as a script's variable that is not set, is none, and not this directory."""

    def convert(self, value: str | PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("a path is empty", param, ctx)
        return super().convert(value, param, ctx)


HEADERS = ("RUN", "STARTED", "STEPS", "LOSS", "EVAL LOSS", "FILE")
PATH = _Named(path_type=Path)
DRAWING_HEIGHT = 20
DEFAULT_WIDTH = 80


@click.group(no_args_is_help=True)
def logs() -> None:
    """Look at what training runs logged.

    PATH is a log file (trainer_logs.json, or Hugging Face's
    trainer_state.json), a run's directory, a model's, or a project's; of
    several runs the newest is taken.
    """


@logs.command()
@click.argument("path", type=PATH, default=".")
@click.option("--format", "form", type=click.Choice(["text", "json", "md", "one-line"]), default="text")
@click.option("--all", "every", is_flag=True, help="Every run at or below PATH, newest first.")
@click.option("-o", "--output", type=PATH, help="Write it to this file.")
def summary(path: Path, form: str, every: bool, output: Path | None) -> None:
    """Loss, best loss, speed and length of a run.

    With --all, a damaged log is told on stderr, the others are shown, and the
    exit code is 65. JSON is then a list.
    """
    found = run_files(path)
    runs, failed = _readable(found) if every else ([read_run(found[0])], None)
    if form == "json":
        documents = [facts.as_document(run) for run in runs]
        text = as_json(documents if every else documents[0])
    else:
        text = "\n".join(map(shown, _summary_lines(runs, form)))
    _deliver(text, output)
    if failed:
        raise failed


@logs.command("list")
@click.argument("path", type=PATH, default=".")
@click.option("--json", "json_", is_flag=True, help="A list of what summary --format json gives.")
def list_(path: Path, json_: bool) -> None:
    """The runs at or below PATH, newest first.

    A damaged log is told on stderr, and the exit code is 65.
    """
    runs, failed = _readable(run_files(path))
    if json_:
        click.echo(as_json([facts.as_document(run) for run in runs]))
    elif runs:
        rows = [_row(run) for run in runs]
        click.echo("\n".join(render(HEADERS, rows, width=terminal_width(), name_column=0)))
    if failed:
        raise failed


@logs.command()
@click.argument("paths", type=PATH, nargs=-1)
@click.option("--metrics", default="loss,eval_loss", show_default=True, help="Which, with commas between.")
@click.option("--x-axis", "x", type=click.Choice(["step", "epoch", "time"]), default="step", show_default=True)
@click.option("--smooth", type=click.IntRange(min=1), default=1, metavar="N", help="Moving average over N records.")
@click.option("--log-scale", is_flag=True, help="A logarithmic y axis.")
@click.option("--compare", is_flag=True, help="Every run at or below the PATHs, each a line of its own.")
@click.option("--labels", help="Names for the lines, with commas between.")
@click.option("--title", default="", help="What stands above the plot.")
@click.option("-o", "--output", type=PATH, help="The picture's file. [default: plot.FORMAT]")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by the ending of -o, else png]")
@click.option("--terminal", is_flag=True, help="Draw it here, with characters; needs no matplotlib.")
def plot(
    paths: tuple[Path, ...],
    metrics: str,
    x: str,
    smooth: int,
    log_scale: bool,
    compare: bool,
    labels: str | None,
    title: str,
    output: Path | None,
    form: str | None,
    terminal: bool,
) -> None:
    """Draw a run's losses, or any metrics; several PATHS are compared.

    Of each PATH the newest run is taken, together with the runs it was
    resumed from, as one line. Prints the picture's path.
    """
    lines = _labelled(_lines(paths or (Path("."),), compare), labels)
    found = curves(lines, _names(metrics), cast(Axis, x))
    if terminal:
        drawn = "\n".join(_terminal_plot(found, x, smooth, log_scale, title))
        _deliver(drawn, output)
        return
    form = form or _form(output)
    output = output or Path(f"plot.{form}")
    look = Look(x=cast(Axis, x), smooth=smooth, log_scale=log_scale, title=title, format=form)
    _write(output, picture(found, look))
    click.echo(shown(str(output)))


def _readable(found: Sequence[Path]) -> tuple[list[Run], ForgatherError | None]:
    """The runs that can be read. Of those that cannot, all are told but the last, which is for raising."""
    runs: list[Run] = []
    failed: ForgatherError | None = None
    for file in found:
        try:
            runs.append(read_run(file))
        except ForgatherError as error:
            if failed:
                tell(failed)
            failed = error
    return runs, failed


def _summary_lines(runs: Sequence[Run], form: str) -> Iterator[str]:
    if form == "md":
        yield from facts.as_markdown(runs)
    elif form == "one-line":
        yield from map(facts.as_one_line, runs)
    else:
        for number, run in enumerate(runs):
            yield from ([""] if number else []) + facts.as_lines(run)


def _row(run: Run) -> tuple[str, ...]:
    at, loss, eval_loss = facts.started_at(run), run.series("loss").final, run.series("eval_loss").final
    return (
        shown(run.run_id),
        f"{local(at):%Y-%m-%d %H:%M}" if at else "-",
        "-" if run.last_step is None else str(run.last_step),
        facts.number(loss[1]) if loss else "-",
        facts.number(eval_loss[1]) if eval_loss else "-",
        shown(str(run.file)),
    )


def _lines(paths: Sequence[Path], compare: bool) -> Lines:
    if compare:
        files = list(dict.fromkeys(file for path in paths for file in run_files(path)))
        return [(_name(run), (run,)) for run in map(read_run, files)]
    chains = [with_what_it_continues(read_run(run_files(path)[0])) for path in paths]
    return [(_name(chain[-1]), chain) for chain in chains]


def _name(run: Run) -> str:
    return f"{run.name} ({run.run_id})" if run.name and run.name != run.run_id else run.run_id


def _labelled(lines: Lines, labels: str | None) -> Lines:
    if labels is None:
        return lines
    given = [label.strip() for label in labels.split(",")]
    if len(given) != len(lines):
        raise UsageError(f"--labels names {len(given)} lines, there are {len(lines)}", hint="one for each, in order")
    return [(label, runs) for label, (_, runs) in zip(given, lines, strict=True)]


def _names(metrics: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip()))
    if not names:
        raise UsageError("--metrics names none", hint="e.g. --metrics loss,learning_rate")
    return names


def _terminal_plot(found: dict[str, list[Curve]], x: str, smooth: int, log_scale: bool, title: str) -> Iterator[str]:
    """All losses in one drawing, each other metric in one of its own, as in the picture."""
    width = terminal_width() or DEFAULT_WIDTH
    if title:
        yield shown(title)
    x_label = "seconds of training" if x == "time" else x
    for panel in panels(found):
        metrics = list(dict.fromkeys(curve.metric for curve in panel))
        yield shown(metrics[0] if len(metrics) == 1 else "losses") + (" (log scale)" if log_scale else "")
        named = [(shown(f"{c.metric}, {c.label}" if len(metrics) > 1 else c.label), c.smoothed(smooth)) for c in panel]
        yield from drawing(named, x_label=x_label, width=width, height=DRAWING_HEIGHT, log_scale=log_scale)


def _form(output: Path | None) -> str:
    if output is None:
        return FORMATS[0]
    ending = output.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise UsageError(f"{output}: no ending that says the format", hint=f"--format {'|'.join(FORMATS)}")
    return ending


def _deliver(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text)
    else:
        _write(output, (text + "\n").encode())


def _write(output: Path, data: bytes) -> None:
    try:
        output.write_bytes(data)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UsageError(f"cannot write {output}: {error.strerror}", hint="-o names a file in a directory") from None
    except OSError as error:
        raise StorageFailed(f"cannot write {output}: {error.strerror}", hint="-o FILE puts it elsewhere") from None
