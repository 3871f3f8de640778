"""`forgather sched hold|release`: which of the waiting jobs may start. Parses, calls one function, prints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from forgather_spool.spool.queue import Spool

from .holding import Came, all_as_asked, hold_each, hold_many, release_each, release_many
from .job_document import as_json
from .job_words import job_words
from .nudge import nudge
from .show import shown

Command = Callable[..., Any]


def which_jobs(command: Command) -> Command:
    """``[JOB]... | --group NAME | --all``, and ``--json``."""
    for decorate in (
        click.option("--json", "json_", is_flag=True, help="A list of objects: job_id, as_asked, changed, said."),
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
    """Let jobs on hold start again, at the place in the queue they had."""
    spool = _spool(jobs, group, all_)
    came = release_each(spool, jobs) if jobs else release_many(spool, group)
    if any(one.changed for one in came):
        nudge(spool)
    _tell(came, json_)


def _spool(jobs: tuple[str, ...], group: str | None, all_: bool) -> Spool:
    if [bool(jobs), group is not None, all_].count(True) != 1:
        raise click.UsageError("name the jobs, or give --group NAME, or --all")
    return Spool().create()


def _tell(came: list[Came], json_: bool) -> None:
    """One line a job, or JSON; exits with 1 where one is not as it was asked for."""
    if json_:
        click.echo(as_json([one.as_document() for one in came]))
    else:
        click.echo("\n".join(f"{shown(one.job_id)}: {shown(one.said)}" for one in came) or "no such job waits")
    if not all_as_asked(came):
        sys.exit(1)


def add_to(group: click.Group) -> None:
    for command in (hold, release):
        group.add_command(command)
