"""`forgather sched hold|release|reprioritize|move|edit`: which waiting jobs start, and in which order.

Parses, calls one function, prints.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.job.words import job_words
from forgather_spool.cli.nudge import nudge
from forgather_spool.cli.sched.holding import (
    Came,
    all_as_asked,
    entries_of,
    hold_each,
    hold_many,
    release_each,
    release_many,
)
from forgather_spool.cli.sched.moving import After, Before, reprioritize_each
from forgather_spool.cli.sched.moving import move as move_one
from forgather_spool.cli.show import shown
from forgather_spool.schema import PRIORITY_LIMIT
from forgather_spool.spool.families import find_all
from forgather_spool.spool.place import Held, Queued, held_places, waiting_places
from forgather_spool.spool.queue import Spool

Command = Callable[..., Any]


json_option = click.option("--json", "json_", is_flag=True, help="A list of objects: job_id, as_asked, changed, said.")


def which_jobs(command: Command) -> Command:
    """``[JOB]... | --group NAME | --all``, and ``--json``."""
    for decorate in (
        json_option,
        click.option("--all", "all_", is_flag=True, help="Every such job there is."),
        click.option("--group", metavar="NAME", help="Those of one group."),
        click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=job_words),
    ):
        command = decorate(command)
    return command


@click.command()
@which_jobs
def hold(jobs: tuple[str, ...], group: str | None, all_: bool, json_: bool) -> None:
    """Keep waiting jobs from starting, until they are released.

    JOB is an id, the beginning of one, or a name. A job that has started
    already goes on, and the exit code is 1.
    """
    spool = _spool(jobs, group, all_)
    _tell(hold_each(spool, jobs) if jobs else hold_many(spool, group), json_)


@click.command()
@which_jobs
def release(jobs: tuple[str, ...], group: str | None, all_: bool, json_: bool) -> None:
    """Let jobs on hold start again, at the place in the queue they had.

    One that is on hold since a job it comes after did not end as it wanted
    (submit --after-unmet hold) starts all the same if it is named; --all and
    --group leave it on hold, say so, and exit with 1.
    """
    spool = _spool(jobs, group, all_)
    came = release_each(spool, jobs) if jobs else release_many(spool, group)
    if any(one.changed for one in came):
        nudge(spool)
    _tell(came, json_, nobody="no such job is on hold")


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=job_words)
@click.option("--group", metavar="NAME", help="Those of one group.")
@click.option(
    "--priority",
    type=click.IntRange(-PRIORITY_LIMIT, PRIORITY_LIMIT),
    metavar="N",
    required=True,
    help="Higher starts first.",
)
@json_option
def reprioritize(jobs: tuple[str, ...], group: str | None, priority: int, json_: bool) -> None:
    """Give waiting jobs another priority. One that has started keeps what it had, and the exit code is 1."""
    spool = _spool(jobs, group, all_=False)
    if group is not None:
        places: list[Queued | Held] = [*held_places(spool), *waiting_places(spool)]
        job_ids = [job_id for _, job_id in entries_of(spool, places, group)]
    else:
        job_ids = find_all(spool, jobs)
    came = reprioritize_each(spool, job_ids, priority)
    if any(one.changed for one in came):
        nudge(spool)
    _tell(came, json_)


@click.command()
@click.argument("job", metavar="JOB", shell_complete=job_words)
@click.option("--first", is_flag=True, help="Before all others.")
@click.option("--last", is_flag=True, help="After all others.")
@click.option("--before", metavar="OTHER", help="Before that job.")
@click.option("--after", metavar="OTHER", help="After that job.")
@json_option
def move(job: str, first: bool, last: bool, before: str | None, after: str | None, json_: bool) -> None:
    """Give one waiting job another place in the queue.

    Priority and id are the order, so it gets the nearest priority that puts it
    there. Among jobs of one priority the older start first: to pass one it
    passes all of them.
    """
    wishes: list[Before | After] = [
        *([Before(None)] if first else []), *([After(None)] if last else []),
        *([Before(before)] if before is not None else []), *([After(after)] if after is not None else []),
    ]  # fmt: skip
    if len(wishes) != 1:
        raise click.UsageError("give one of --first, --last, --before OTHER, --after OTHER")
    spool = Spool().create()
    came = move_one(spool, job, wishes[0])
    if came.changed:
        nudge(spool)
    _tell([came], json_)


@click.command()
@click.argument("job", metavar="JOB", shell_complete=job_words)
@json_option
def edit(job: str, json_: bool) -> None:
    """Change a waiting job in your editor ($VISUAL, $EDITOR), as JSON, its priority too.

    It is on hold meanwhile. What is saved is checked before it replaces the
    old; close the file unchanged, or leave the editor with an error, to change
    nothing. Killed in between, the job stays on hold as it was.
    """
    from forgather_spool.cli.sched.editing import ask_on_terminal, require_editor, run_editor
    from forgather_spool.cli.sched.editing import edit as edit_one

    require_editor()
    spool = Spool().create()
    try:
        came = edit_one(spool, job, run_editor, ask_on_terminal)
    finally:
        nudge(spool)
    _tell([came], json_)


def _spool(jobs: tuple[str, ...], group: str | None, all_: bool) -> Spool:
    if [bool(jobs), group is not None, all_].count(True) != 1:
        raise click.UsageError("name the jobs, or give --group NAME, or --all")
    return Spool().create()


def _tell(came: list[Came], json_: bool, nobody: str = "no such job waits") -> None:
    """One line a job, or JSON; exits with 1 where one is not as it was asked for."""
    if json_:
        click.echo(as_json([one.as_document() for one in came]))
    else:
        click.echo("\n".join(f"{shown(one.job_id)}: {shown(one.said)}" for one in came) or nobody)
    if not all_as_asked(came):
        sys.exit(1)


def add_to(group: click.Group) -> None:
    for command in (hold, release, reprioritize, move, edit):
        group.add_command(command)
