"""`sched cleanup` and `sched retention`: which ended jobs to remove, now or whenever the dispatcher is idle.

Which they are is `spool/retention.py`, how they go `spool/remove.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from forgather_spool.cli.control.asking import confirmed
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.job.words import job_words
from forgather_spool.cli.nudge import nudge
from forgather_spool.cli.quantities import DURATION_FORMS, SIZE_FORMS, duration_s, size_text
from forgather_spool.cli.quantities import size_bytes as size_of
from forgather_spool.cli.show import shown
from forgather_spool.cli.spans import span
from forgather_spool.document import Document
from forgather_spool.errors import JobFailed, UsageError
from forgather_spool.outcome import OUTCOME_WORDS
from forgather_spool.spool import settings
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.families import find_all
from forgather_spool.spool.follow import finish_ending
from forgather_spool.spool.names import family_of
from forgather_spool.spool.place import (
    Rejected,
    Taken,
    locate,
)
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.remove import remove, sweep_removed
from forgather_spool.spool.retention import Retention, needed_by_the_living, outdated, size_bytes

AT_ONCE = 500  # removed together; a person sees how far it is after each so many
SHOWN = 20  # of a --dry-run; --json has all
Command = TypeVar("Command", bound=Callable[..., Any])


def limits(command: Command) -> Command:
    """The options that make a `Retention`."""
    options = (
        click.option("--older-than", metavar="TIME", help=f"What ended longer ago goes: {DURATION_FORMS}."),
        click.option("--keep", type=click.IntRange(min=0), metavar="N", help="The N that ended last stay in any case."),
        click.option("--max-size", metavar="SIZE", help=f"The oldest go until the rest takes no more: {SIZE_FORMS}."),
        click.option(
            "--outcome", "outcomes", multiple=True, type=click.Choice(OUTCOME_WORDS), metavar="OUTCOME",
            help=f"Only such: {', '.join(OUTCOME_WORDS)}. Repeatable.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=job_words)
@limits
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask first. Nobody is asked where stdin is no terminal.")
@click.option("--json", "json_", is_flag=True, help="One JSON object: removed (ids), bytes, dry_run.")
def cleanup(
    jobs: tuple[str, ...],
    older_than: str | None,
    keep: int | None,
    max_size: str | None,
    outcomes: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    """Remove ended jobs: their record, their output, everything. Without JOB all that have ended.

    With --older-than, --max-size or both only those beyond one of these limits
    go, the oldest first; --keep and --outcome say what stays in any case. What
    runs, or what a waiting job names in --after, is never removed. Rejected
    files go only by name: they may be somebody's only copy.

    \b
    forgather sched cleanup --older-than 30d --keep 100
    forgather sched cleanup --outcome ok --older-than 7d
    forgather sched cleanup --max-size 10G --dry-run
    """
    wanted = _retention(older_than, keep, max_size, outcomes)
    if jobs and wanted != Retention():
        raise click.UsageError("--older-than, --keep, --max-size and --outcome go with no JOB")
    spool = Spool().create()
    places = _named(spool, jobs) if jobs else list(outdated(spool, wanted, datetime.now(UTC)))
    if places and not (jobs or dry_run or yes) and _somebody_is_there():
        _confirm(spool, places)
    gone: list[Ended | Rejected] = []
    removed_bytes = 0
    for at in range(0, len(places), AT_ONCE):
        some = places[at : at + AT_ONCE]
        sizes = {place.job_id: size_bytes(spool, place.job_id) for place in some}
        went = some if dry_run else remove(spool, *some)
        gone += went
        removed_bytes += sum(sizes[place.job_id] for place in went)
        if not dry_run:
            _say_how_far(at + len(some), len(places))
    if not (jobs or dry_run):
        sweep_removed(spool)
    if not dry_run:
        _sweep_snapshots(spool, refs=not jobs)
    _say(gone, removed_bytes, dry_run, json_)


@click.command()
@limits
@click.option("--off", is_flag=True, help="Remove nothing by itself any more.")
@click.option("--json", "json_", is_flag=True, help="What is set, as one JSON object; null for nothing.")
def retention(
    older_than: str | None, keep: int | None, max_size: str | None, outcomes: tuple[str, ...], off: bool, json_: bool
) -> None:
    """Have the dispatcher remove ended jobs whenever it is idle; without options, what is set.

    The limits are those of `sched cleanup`, and replace what was set. Off unless
    you set it: nothing of yours goes away by itself.

    \b
    forgather sched retention --older-than 90d --keep 1000
    """
    wanted = _retention(older_than, keep, max_size, outcomes)
    given = wanted != Retention()
    if given and off:
        raise click.UsageError("--off goes alone")
    if given and wanted == Retention(outcomes=wanted.outcomes):
        raise UsageError(
            "--outcome alone would remove such jobs at once", hint="add --older-than, --keep or --max-size"
        )
    spool = Spool()
    if given or off:
        settings.change_dispatch(spool.create().paths, retention=wanted.as_document() if given else None)
    if given:
        nudge(spool)  # who is asleep would remove nothing before the next job
    held = settings.dispatch(spool.paths)["retention"]
    if json_:
        click.echo(as_json(held))
    else:
        click.echo(in_words(Retention.from_document(held)) if isinstance(held, dict) else "nothing goes by itself")


def in_words(kept: Retention) -> str:
    """E.g. "when idle: ended jobs go that are older than 30 d, or beyond 10 GiB; the last 100 stay"."""
    kind = f" ({', '.join(sorted(kept.outcomes))})" if kept.outcomes else ""
    reasons = []
    if kept.older_than_s is not None:
        reasons.append(f"are older than {span(kept.older_than_s)}")
    if kept.max_bytes is not None:
        reasons.append(f"are beyond {size_text(kept.max_bytes)}")
    stays = f"the last {kept.keep:,} stay" if kept.keep else ""
    goes = f"ended jobs{kind} go" + (" that " + " or ".join(reasons) if reasons else "")
    return "when idle: " + "; ".join(part for part in (goes, stays) if part)


def _sweep_snapshots(spool: Spool, *, refs: bool) -> None:
    from forgather_spool.snapshot.sweep import sweep_refs, sweep_worktrees

    sweep_worktrees(spool)
    if refs:
        sweep_refs(spool)


def _retention(older_than: str | None, keep: int | None, max_size: str | None, outcomes: Sequence[str]) -> Retention:
    return Retention(
        older_than_s=None if older_than is None else duration_s(older_than),
        keep=keep or 0,
        max_bytes=None if max_size is None else size_of(max_size),
        outcomes=frozenset(outcomes),
    )


def _named(spool: Spool, texts: Sequence[str]) -> list[Ended | Rejected]:
    """
    Raises:
        NoSuchJob: one is none; nothing was removed.
        UsageError: one has not ended, or is waited for; nothing was removed.
    """
    places = [_ended_place(spool, job_id) for job_id in find_all(spool, texts)]
    needed = needed_by_the_living(spool)
    for place in places:
        if place.job_id in needed or family_of(place.job_id) in needed:
            raise UsageError(f"job {place.job_id} is one that a waiting job comes after", hint="cancel that one first")
    return places


def _ended_place(spool: Spool, job_id: str) -> Ended | Rejected:
    place = locate(spool, job_id)
    if isinstance(place, Taken) and spool.has_result(job_id):
        finish_ending(spool, place)
        place = locate(spool, job_id)
    if not isinstance(place, (Ended, Rejected)):
        raise UsageError(f"job {job_id} has not ended", hint=f"forgather job kill {job_id}")
    return place


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _confirm(spool: Spool, places: Sequence[Ended | Rejected]) -> None:
    taken = size_text(sum(size_bytes(spool, place.job_id) for place in places))
    if not confirmed(f"Remove {len(places):,} ended job{'s'[: len(places) != 1]} and all their output ({taken})?"):
        raise JobFailed("nothing was removed")


def _say_how_far(done: int, of: int) -> None:
    """On stderr, for a person, while there is more to come."""
    if of > AT_ONCE and sys.stderr.isatty():
        sys.stderr.write(f"\rremoved {done:,} of {of:,}" if done < of else "\r\x1b[K")
        sys.stderr.flush()


def _say(places: Sequence[Ended | Rejected], removed_bytes: int, dry_run: bool, json_: bool) -> None:
    if json_:
        ids = [place.job_id for place in places]
        told: Document = {"version": 1, "removed": ids, "bytes": removed_bytes, "dry_run": dry_run}
        click.echo(as_json(told))
        return
    size = f" ({size_text(removed_bytes)})" if removed_bytes else ""
    if not dry_run:
        click.echo(f"removed {len(places)}{size}")
        return
    for place in places[:SHOWN]:
        click.echo(shown(place.job_id))
    if len(places) > SHOWN:
        click.echo(f"… and {len(places) - SHOWN:,} more")
    click.echo(f"would remove {len(places)}{size}")
