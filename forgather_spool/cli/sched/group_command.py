"""`forgather sched group`: limits and pauses of groups of jobs. Parses, calls one function, prints."""

from __future__ import annotations

import click

from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.nudge import nudge
from forgather_spool.cli.sched.groups import Change, as_table, change, listed
from forgather_spool.cli.sched.groups import remove as remove_settings
from forgather_spool.cli.show import shown
from forgather_spool.cli.table import terminal_width
from forgather_spool.spool.queue import Spool

MAX_LIMIT = 100_000


@click.group()
def group() -> None:
    """Groups of jobs (submit --group): how many of each may run at once; pause one of them.

    A group is there when a job names it. A job without a group is in none.
    """


@group.command("list")
@click.option("--json", "json_", is_flag=True, help="Objects: group, limit, paused, waiting, held, running.")
def list_(json_: bool) -> None:
    """Groups that have settings, or jobs that have not ended."""
    spool = Spool()
    spool.check()
    groups = listed(spool)
    click.echo(as_json(groups) if json_ else "\n".join(as_table(groups, width=terminal_width())) or "no groups")


@group.command("set")
@click.argument("name")
@click.option("--limit", metavar="N|none", help="How many of its jobs may run at once.")
@click.option("--pause", is_flag=True, help="Start none of its jobs; those that run go on.")
@click.option("--resume", is_flag=True, help="Start them again.")
@click.option("--json", "json_", is_flag=True, help="What is set now: limit, paused.")
def set_(name: str, limit: str | None, pause: bool, resume: bool, json_: bool) -> None:
    """Set a group's limit, or pause or resume it. Holds also for jobs that wait already, and survives restarts."""
    if (limit is None and not (pause or resume)) or (pause and resume):
        raise click.UsageError("give --limit N, --pause or --resume")
    if limit not in (None, "none") and not (limit.isdecimal() and len(limit) <= 9 and 1 <= int(limit) <= MAX_LIMIT):
        raise click.BadParameter(f"1 to {MAX_LIMIT}, or the word none", param_hint="--limit")
    wanted = Change(
        limit=int(limit) if limit not in (None, "none") else None,
        no_limit=limit == "none",
        paused=pause if pause or resume else None,
    )
    set_group(name, wanted, json_=json_)


def set_group(name: str, wanted: Change, *, json_: bool = False) -> None:
    """Set it, have a dispatcher look, and say what holds now."""
    spool = Spool().create()
    now = change(spool, name, wanted)
    at_once = "no limit" if now["limit"] is None else f"at most {now['limit']} at once"
    paused = "paused: none of its jobs starts" if now["paused"] else "not paused"
    if spool.waiting():
        nudge(spool)
    click.echo(as_json(now) if json_ else f"group {shown(name)}: {at_once}; {paused}")


@group.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take away a group's limit and its pause. Its jobs stay as they are."""
    spool = Spool().create()
    remove_settings(spool, name)
    if spool.waiting():
        nudge(spool)
    click.echo(f"group {shown(name)}: no settings any more")
