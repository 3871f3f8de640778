"""Staying with a job in a terminal: its output as it comes, then how it ended, and its status as ours.

One implementation for `job tail` and `submit --follow`. Ctrl-C ends the
staying, never the job.
"""

from __future__ import annotations

import sys

import click

from forgather_spool.cli.job.tail import Tail
from forgather_spool.cli.reader import leave_quietly
from forgather_spool.cli.sched.reasons import reason_of
from forgather_spool.cli.show import shown
from forgather_spool.errors import UnreadableFile
from forgather_spool.job import State
from forgather_spool.outcome import TimedOut, describe, exit_status_of
from forgather_spool.spool.look import Job, attempt_with_output
from forgather_spool.spool.queue import Spool

INTERRUPTED = 130  # 128 + SIGINT, as a shell has it


def stream(spool: Spool, job_id: str, *, lines: int | None, follow: bool, attempt: int | None = None) -> int:
    """Print the last `lines` of its output (None: all), and with `follow` what comes until it ends. The exit code."""
    out = sys.stdout.buffer
    tailing = Tail(spool, job_id, attempt, out, raw=out.isatty())
    try:
        ended = tailing.run(
            lines=lines,
            follow=follow,
            on_waiting=lambda waiting: say_why(spool, waiting),
            on_again=lambda number: click.echo(f"{job_id}: attempt {number}", err=True),
        )
    except KeyboardInterrupt:
        click.echo(f"\n{job_id} goes on; again: forgather job tail {job_id}", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        leave_quietly()
    if not follow:
        return 0
    click.echo(ending(ended), err=True)
    return exit_status(ended)


def copy_output(spool: Spool, job_id: str, attempt: int | None, *, end_line: bool) -> None:
    """All there is so far, to stdout. With `end_line` its last line is ended where the job did not."""
    from forgather_spool.spool.output import Output

    output = Output(spool.paths.output(job_id, attempt or attempt_with_output(spool, job_id)))
    out, last = sys.stdout.buffer, b"\n"
    while data := output.read():
        out.write(data)
        last = data[-1:]
    if end_line and last != b"\n":
        out.write(b"\n")
    out.flush()


def say_why(spool: Spool, waiting: Job) -> None:
    if waiting.state is State.HELD:
        click.echo(f"on hold; to let it start: forgather sched release {waiting.job_id}", err=True)
        return
    reason = reason_of(spool, waiting)
    click.echo(f"waiting: {shown(reason.text if reason else waiting.problem or 'its turn has not come')}", err=True)


def ending(ended: Job) -> str:
    """E.g. "q_...: exited 0 after 12 s"."""
    from forgather_spool.cli.job.facts import took

    if ended.result is None:
        return f"{ended.job_id}: {shown(ended.problem or ended.state.value)}"
    time_taken = None if isinstance(ended.result.outcome, TimedOut) else took(ended)
    return f"{ended.job_id}: {shown(describe(ended.result.outcome))}" + (f" after {time_taken}" if time_taken else "")


def exit_status(ended: Job) -> int:
    """Raises UnreadableFile when nothing readable says how it ended."""
    if ended.result is None:
        hint = f"forgather job show --raw {ended.job_id}"
        raise UnreadableFile(f"job {ended.job_id}: {ended.problem or ended.state.value}", hint=hint)
    return exit_status_of(ended.result.outcome)
