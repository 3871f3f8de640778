"""`forgather sched`: looking at the queue, and what its owner may do to it.

Parses, calls one function, prints. Reads the spool; of the machine it asks
which host this is and which cards there are.
"""

from __future__ import annotations

import json

import click

from forgather_spool.cli.identity import who
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.job.words import job_words
from forgather_spool.cli.nudge import nudge, nudge_to_tell
from forgather_spool.cli.sched.group_command import group as group_commands
from forgather_spool.cli.sched.group_command import set_group
from forgather_spool.cli.sched.groups import Change
from forgather_spool.cli.sched.listing import ACTIVE, BY_DEFAULT, Listing, Wanted, as_document, take_listing
from forgather_spool.cli.sched.listing_table import as_table
from forgather_spool.cli.sched.order_command import add_to as add_order_commands
from forgather_spool.cli.sched.tidy import cleanup, retention
from forgather_spool.cli.show import shown
from forgather_spool.cli.table import terminal_width
from forgather_spool.job import State
from forgather_spool.spool import settings
from forgather_spool.spool.families import find_all, find_one
from forgather_spool.spool.look import look
from forgather_spool.spool.queue import Spool, utc_now

ROWS_PER_SECTION = 20
MAX_NO_GPU_LIMIT = 100_000
DEFAULT_WAIT = "30m"  # as schema.DISPATCH has it
STATE_WORDS = [*(state.value for state in State), "active"]
SETTINGS_JSON = click.option("--json", "json_", is_flag=True, help="All of dispatch.json as it is now.")


@click.group()
def sched() -> None:
    """Look at the queue; pause, hold, cancel, tidy up."""


@sched.command()
@click.option("--json", "json_", is_flag=True, help="One JSON object.")
def status(json_: bool) -> None:
    """One line: does it start jobs, how many wait and run, is a dispatcher awake.

    With an empty queue none is: `dispatcher=asleep` is how it should be then.
    """
    from forgather_spool.cli.sched.status import as_line, sched_status

    spool = Spool()
    spool.check()
    found = sched_status(spool)
    click.echo(as_json(found) if json_ else as_line(found))


@sched.command("list")
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=job_words)
@click.option("--all", "all_", is_flag=True, help="Every job, not the first 20 of each kind.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N of each kind.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATE_WORDS), help="Only these; repeatable.")
@click.option("--name", metavar="GLOB", help="Only jobs whose name fits, e.g. 'eval-*'.")
@click.option("--group", metavar="NAME", help="Only jobs of this group.")
@click.option("--members", is_flag=True, help="A line for each member of an array.")
@click.option("--no-reasons", is_flag=True, help="Do not find out why jobs wait.")
@click.option("--json", "json_", is_flag=True, help="One JSON object; `more` says what --limit left out.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until Ctrl-C; with --json a line each.")
def list_(
    jobs: tuple[str, ...],
    all_: bool,
    limit: int | None,
    states: tuple[str, ...],
    name: str | None,
    group: str | None,
    members: bool,
    no_reasons: bool,
    json_: bool,
    watch: bool,
) -> None:
    """Queued jobs in the order they will start, those on hold, then active ones, then those that ended last.

    On a narrow terminal ids are cut to what is after the time, which means the
    job wherever one is named.

    An array is one line, with how many of its members wait, run, are done and
    have failed; `--members`, or naming it (q_...[*], q_...[3-7]), lists them.
    """
    spool = Spool()
    spool.check()
    wanted = Wanted(
        states=_states(states),
        name=name,
        group=group,
        limit=None if all_ and limit is None else limit or ROWS_PER_SECTION,
        reasons=not no_reasons,
        members=members or json_ or bool(jobs),
        only=frozenset(find_all(spool, jobs)) if jobs else None,
    )
    if watch:
        from forgather_spool.cli.watching import show_changes

        show_changes(spool, lambda: _as_watched(spool, wanted, json_), title="forgather sched list --watch")
    listing = take_listing(spool, wanted)
    click.echo(_as_text(spool, wanted, listing, json_))
    if any(job.state in ACTIVE for section in listing.sections for job in section.jobs):
        nudge(spool)


def _as_watched(spool: Spool, wanted: Wanted, json_: bool) -> tuple[str, object]:
    """The text, and the facts without their ages."""
    listing = take_listing(spool, wanted)
    document = as_document(spool, listing)
    return json.dumps(document) if json_ else _as_text(spool, wanted, listing, False), document


def _as_text(spool: Spool, wanted: Wanted, listing: Listing, json_: bool) -> str:
    if json_:
        return as_json(as_document(spool, listing))
    lines = as_table(listing, width=terminal_width()) or ["no jobs"]
    if listing.rejected_files and State.REJECTED not in wanted.states:
        folder = shown(spool.paths.rejected)
        lines.append(f"rejected: {listing.rejected_files} in {folder}; why: forgather sched list --state rejected")
    return "\n".join(lines)


def _states(words: tuple[str, ...]) -> frozenset[State]:
    if not words:
        return BY_DEFAULT
    found = {State(word) for word in words if word != "active"}
    return frozenset(found | ACTIVE if "active" in words else found)


@sched.command()
@click.option("--group", metavar="NAME", help="Only of this group.")
@SETTINGS_JSON
def pause(group: str | None, json_: bool) -> None:
    """Start nothing new. Running jobs go on, and jobs can be submitted. Survives restarts."""
    if group is not None:
        set_group(group, Change(paused=True), json_=json_)
        return
    spool = Spool().create()
    now = settings.change_dispatch(spool.paths, paused=True, paused_at=utc_now())
    click.echo(as_json(now) if json_ else "paused: nothing new starts; running jobs go on")


@sched.command()
@click.option("--group", metavar="NAME", help="Of a group that was paused by itself.")
@SETTINGS_JSON
def resume(group: str | None, json_: bool) -> None:
    """Start jobs again."""
    if group is not None:
        set_group(group, Change(paused=False), json_=json_)
        return
    spool = Spool().create()
    now = settings.change_dispatch(spool.paths, paused=False, paused_at=None)
    _nudge_for_waiting(spool)
    click.echo(as_json(now) if json_ else "resumed")


@sched.command()
@click.argument("number", metavar="[N|default]", required=False)
@SETTINGS_JSON
def limit(number: str | None, json_: bool) -> None:
    """How many jobs that need no card may run at once; `default` is as many as this host has cores, and at least 4.

    Without N: show it.
    """
    spool = Spool().create()
    if number is None:
        now = settings.dispatch(spool.paths)
    elif number == "default" or (number.isdecimal() and len(number) <= 9 and 1 <= int(number) <= MAX_NO_GPU_LIMIT):
        now = settings.change_dispatch(spool.paths, no_gpu_limit=None if number == "default" else int(number))
    else:
        raise click.BadParameter(f"1 to {MAX_NO_GPU_LIMIT}, or the word default", param_hint="N")
    if number is not None:
        _nudge_for_waiting(spool)
    click.echo(as_json(now) if json_ else f"jobs without a card at once: {now['no_gpu_limit'] or 'default'}")


@sched.command("keep-cards")
@click.argument("after", metavar="[TIME|never|default]", required=False)
@SETTINGS_JSON
def keep_cards(after: str | None, json_: bool) -> None:
    """How long a job waits for cards before they are kept for it as they come free, such as 30m (the default) or 0.

    Others get a kept card only while their time limit (submit --time) ends
    before the job can start. `never`: a wide job may wait for ever behind small ones. Without TIME: show it.
    """
    from forgather_spool.cli.quantities import duration_s
    from forgather_spool.cli.spans import span

    spool = Spool().create()
    if after is None:
        now = settings.dispatch(spool.paths)
    else:
        wait = DEFAULT_WAIT if after == "default" else after
        now = settings.change_dispatch(spool.paths, reserve_after_s=None if wait == "never" else duration_s(wait))
    if after is not None:
        _nudge_for_waiting(spool)
    wait_s = now["reserve_after_s"]
    said = "cards are kept for nobody"
    if isinstance(wait_s, (int, float)):
        said = f"cards are kept for who waited {span(wait_s)}"
    click.echo(as_json(now) if json_ else said)


def _nudge_for_waiting(spool: Spool) -> None:
    """Before the answer: what is set holds, whether or not it can be said."""
    if spool.waiting():
        nudge(spool)


@sched.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--on", "when", type=click.Choice(["end", "failure"]), help="Of every end, or not of exit code 0.")
@click.option("--clear", is_flag=True, help="Nobody, from now on.")
@click.option("--json", "json_", is_flag=True, help="What is set, as one JSON object.")
def notify(targets: tuple[str, ...], when: str | None, clear: bool, json_: bool) -> None:
    """Who is told when a job ends that names nobody itself (submit --notify). Without TARGET: show it.

    A TARGET is command:LINE (the job's JSON is its stdin), mail:ADDRESS,
    http://... or https://... (the JSON is POSTed there), or desktop. What is
    set here holds for every job that ends from now on.
    """
    from forgather_spool.cli.sched.notify_defaults import as_lines, change

    if clear and (targets or when is not None):
        raise click.UsageError("--clear goes alone")
    spool = Spool().create()
    found = change(spool, [] if clear else list(targets) or None, when)
    click.echo(as_json(found) if json_ else "\n".join(as_lines(found)))


@sched.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=job_words)
@click.option("--all-queued", is_flag=True, help="Every job that waits; those on hold stay, running ones go on.")
@click.option("--json", "json_", is_flag=True, help="One JSON object: jobs {id: what came of it}; cancelled, how many.")
def cancel(jobs: tuple[str, ...], all_queued: bool, json_: bool) -> None:
    """Take jobs out of the queue; stop those that run already: TERM, then KILL.

    JOB is an id, the beginning of one, or a name. Does not wait until a running
    job has ended; `forgather job kill` does.
    """
    from forgather_spool.cli.job.stopping import cancel_all_queued, cancel_each, cancelled, say_what_came, some_run

    if all_queued == bool(jobs):
        raise click.UsageError("name the jobs to cancel, or give --all-queued")
    spool = Spool().create()
    if all_queued:
        number = cancel_all_queued(spool, who())
        nudge_to_tell(spool)
        click.echo(as_json({"version": 1, "cancelled": number}) if json_ else f"cancelled {number}")
        return
    came = cancel_each(spool, jobs, who())
    if some_run(came):
        nudge(spool)
    else:
        nudge_to_tell(spool)
    if json_:
        words = {job_id: what.name.lower() for job_id, what in came.items()}
        click.echo(as_json({"version": 1, "cancelled": cancelled(came), "jobs": words}))
    else:
        say_what_came(came)


sched.add_command(cleanup)
sched.add_command(retention)


@sched.command()
@click.argument("job", metavar="JOB", shell_complete=job_words)
@click.option("--json", "json_", is_flag=True, help="One JSON object: job_id, state, code, text, details.")
def why(job: str, json_: bool) -> None:
    """Why a job waits, card by card."""
    from forgather_spool.cli.sched.why import explain, why_document

    spool = Spool()
    spool.check()
    found = look(spool, find_one(spool, job))
    click.echo(as_json(why_document(spool, found)) if json_ else "\n".join(explain(spool, found)))


add_order_commands(sched)
sched.add_command(group_commands)
