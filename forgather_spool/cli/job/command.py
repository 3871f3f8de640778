"""`forgather job`: one job, from looking at it to ending it.

JOB is an id, the beginning of just one id, the last part of it, or a name. `tail` and `wait` exit
with the job's own status: its exit code, 128 + the signal that killed it, 124
when its time ran out, 1 when it was cancelled, lost or refused.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import click

from forgather_spool.cli.job.control import add_to as add_control_verbs
from forgather_spool.cli.job.document import as_json, job_document
from forgather_spool.cli.job.following import copy_output, ending, exit_status, stream
from forgather_spool.cli.job.words import job_words
from forgather_spool.cli.nudge import nudge
from forgather_spool.cli.reader import leave_quietly
from forgather_spool.cli.sched.reasons import reasons_of
from forgather_spool.cli.show import shown
from forgather_spool.cli.submit.command import collect, submit_options
from forgather_spool.cli.submit.options import OPTIONS_OF_A_RERUN
from forgather_spool.document import dump as one_line
from forgather_spool.errors import UnreadableFile, UsageError, WaitedLongEnough
from forgather_spool.spool.families import find_all, find_one, look_all
from forgather_spool.spool.follow import ENDED, UNCLAIMED
from forgather_spool.spool.look import Job, look
from forgather_spool.spool.names import is_job_id
from forgather_spool.spool.queue import Spool

Command = TypeVar("Command", bound=Callable[..., object])


def one_job(command: Command) -> Command:
    return click.argument("job", metavar="JOB", shell_complete=job_words)(command)


def several_jobs(command: Command) -> Command:
    return click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=job_words)(command)


def one_attempt(command: Command) -> Command:
    chosen = click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt.")
    return chosen(command)


@click.group()
def job() -> None:
    """Look at one job, follow it, stop it, run it again."""


@job.command()
@several_jobs
@click.option("--json", "json_", is_flag=True, help="One JSON object a job; several are a list.")
def status(jobs: tuple[str, ...], json_: bool) -> None:
    """Everything known of a job: why it waits, where it runs, how it ended, where its log is.

    An array by its id or name is one block, with the numbers of the members that
    run and of those that did not end well; 'NAME[3]' or 'NAME[*]' are its members.
    """
    from forgather_spool.cli.job.blocks import blocks

    spool = _spool()
    found = list(look_all(spool, find_all(spool, jobs)))
    if any(one.state not in (*UNCLAIMED, *ENDED) for one in found):
        nudge(spool)
    reasons = reasons_of(spool, found)
    if json_:
        documents = [job_document(spool, one, reasons.get(one.job_id)) for one in found]
        click.echo(as_json(documents[0] if len(documents) == 1 else documents))
    else:
        in_full = any("[" in text for text in jobs)
        click.echo("\n\n".join("\n".join(block) for block in blocks(spool, found, reasons, in_full=in_full)))


@job.command()
@one_job
@click.option("--raw", is_flag=True, help="Every file of the job as it is, damaged or not, secrets included.")
@click.option("--json", "json_", is_flag=True, help="As without it: it is JSON.")
def show(job: str, raw: bool, json_: bool) -> None:
    """What was submitted, as JSON. Variables whose name looks like a secret are masked."""
    from forgather_spool.cli.job.facts import for_terminal, masked, raw_files, spec_text

    if raw and json_:
        raise UsageError("--raw with --json: files as they are may be no JSON", hint="leave out one of them")
    spool = _spool()
    found = look(spool, find_one(spool, job))
    if raw:
        for path, data in raw_files(spool.paths, found):
            click.echo(f"# {shown(path)}")
            click.echo(for_terminal(data) if sys.stdout.isatty() else data, nl=not data.endswith(b"\n"))
    elif found.spec is None:
        raise UnreadableFile(found.problem or "its spec cannot be read", hint=f"forgather job show --raw {job}")
    else:
        click.echo(spec_text(masked({**found.spec.document, "priority": found.priority})))


@job.command()
@one_job
@click.option("-n", "--lines", type=click.IntRange(min=0), default=10, show_default=True, help="Begin so far back.")
@click.option("--from-start", is_flag=True, help="Begin with the first byte.")
@click.option("--no-follow", is_flag=True, help="Print what is there, then exit with 0.")
@one_attempt
def tail(job: str, lines: int, from_start: bool, no_follow: bool, attempt: int | None) -> None:
    """Stream a job's output until it ends, and exit with its status.

    Ctrl-C ends the tail, never the job. A job that waits is waited for, and
    then shown from its start; one that is run again is followed into its next
    attempt. With --attempt that attempt's output is printed, as with --no-follow.
    """
    spool = _spool()
    job_id = find_one(spool, job)
    _nudge_if_going(spool, job_id)
    given = _existing_attempt(spool, job_id, attempt)
    follow = not (no_follow or attempt is not None)
    sys.exit(stream(spool, job_id, lines=None if from_start else lines, follow=follow, attempt=given))


@job.command()
@one_job
@one_attempt
def dump(job: str, attempt: int | None) -> None:
    """Every byte a job has written so far, as it is; of one that was run again, its latest attempt's.

    Of an array, or of 'NAME[3-7]', that of each member by its number, after a
    line that says whose it is: ==> q_...[3] <==
    Of a job with --output-limit its head and its tail, and a line that says how much is left out between them.
    """
    spool = _spool()
    job_ids = find_all(spool, [job])
    attempts = [_existing_attempt(spool, job_id, attempt) for job_id in job_ids]
    try:
        for job_id, number in zip(job_ids, attempts, strict=True):
            if len(job_ids) > 1:
                click.echo(f"==> {job_id} <==")
            copy_output(spool, job_id, number, end_line=len(job_ids) > 1)
    except BrokenPipeError:
        leave_quietly()


@job.command()
@several_jobs
@click.option("--all", "which", flag_value="all", default="all", help="Until all have ended; the default.")
@click.option("--any", "which", flag_value="any", help="Until the first has ended; exit with its status.")
@click.option("--timeout", metavar="TIME", help="Give up after this long, e.g. 90s or 2h, and exit with 124.")
@click.option("--json", "json_", is_flag=True, help="One JSON object at the end: ended (jobs), going_on, timed_out.")
def wait(jobs: tuple[str, ...], which: str, timeout: str | None, json_: bool) -> None:
    """Wait until jobs have ended; exit with the status of the first named that did not exit 0.

    0: all ended well. 1 to 255: as one of them ended, a signal being 128 + its
    number. 2: there is no such job. 124: TIME ran out, or a job's own time
    limit did; --json tells them apart.
    """
    from forgather_spool.cli.job.waiting import wait_for

    deadline = None if timeout is None else time.monotonic() + _duration_s(timeout)
    spool = _spool()
    job_ids = find_all(spool, jobs)
    _nudge_if_going(spool, *job_ids)
    waited = wait_for(spool, job_ids, deadline, first=which == "any", say=None if json_ else _say_ending)
    if json_:
        click.echo(as_json(waited.document(spool)))
    if waited.timed_out and not json_:
        raise WaitedLongEnough(waited.problem, hint="it goes on; nothing was stopped")
    sys.exit(WaitedLongEnough.exit_code if waited.timed_out else waited.status(exit_status))


def _say_ending(ended: Job) -> None:
    click.echo(ending(ended))


@job.command()
@click.option("--once", is_flag=True, help="Print it once; measures for a moment first.")
@click.option("--every", metavar="TIME", default="2s", show_default=True, help="How often to measure.")
@click.option("--json", "json_", is_flag=True, help="One JSON object; without --once a line each time.")
def top(once: bool, every: str, json_: bool) -> None:
    """What running jobs use: CPU, memory, cards. CPU% is of one CPU: 250 is two and a half.

    `-` is what this host does not count. Of jobs on other hosts only where they
    run is known. Ctrl-C ends it.
    """
    from forgather_spool.cli.job.top import run

    run(_spool(), once=once, every_s=_duration_s(every), json_=json_)


@job.command()
@several_jobs
@click.option("--no-wait", is_flag=True, help="Ask, and do not wait until it has ended.")
@click.option("--json", "json_", is_flag=True, help="A list: each job as `job status --json` has it then.")
def kill(jobs: tuple[str, ...], no_wait: bool, json_: bool) -> None:
    """Stop jobs: TERM to all their processes, their grace, then KILL. One that waits is cancelled."""
    from forgather_spool.cli.identity import who
    from forgather_spool.cli.job.facts import steps
    from forgather_spool.cli.job.stopping import kill as kill_one

    spool = _spool()
    say = _silently if json_ else click.echo
    job_ids = find_all(spool, jobs)
    for job_id in job_ids:
        ended = kill_one(spool, job_id, who(), wait=not no_wait, say=say)
        if ended is not None and not json_:
            for step in steps(ended):
                click.echo(f"  {shown(step)}")
            click.echo(ending(ended))
    if json_:
        click.echo(as_json([job_document(spool, job) for job in look_all(spool, job_ids)]))


def _silently(_: str) -> None:
    """For --json: what is said on the way is in the document."""


@job.command("force-kill")
@several_jobs
@click.option("--yes", is_flag=True, help="Yes, at once, without a chance to save anything.")
@click.option("--json", "json_", is_flag=True, help="A list: each job as `job status --json` has it then.")
def force_kill(jobs: tuple[str, ...], yes: bool, json_: bool) -> None:
    """KILL to all processes of a job at once, also when its runner does not react."""
    from forgather_spool.cli.identity import who
    from forgather_spool.cli.job.stopping import force_kill as force_kill_one
    from forgather_spool.cli.job.stopping import require_yes

    require_yes(yes)
    spool = _spool()
    say = _silently if json_ else click.echo
    ended = []
    for job_id in find_all(spool, jobs):
        ended.append(force_kill_one(spool, job_id, who(), say=say))
        if not json_:
            click.echo(ending(ended[-1]))
    if json_:
        click.echo(as_json([job_document(spool, one) for one in ended]))


@job.command()
@several_jobs
@submit_options(OPTIONS_OF_A_RERUN)
@click.option("--failed", is_flag=True, help="Of these, only those that failed: no exit 0, and no cancel.")
@click.option(
    "--json",
    "json_",
    is_flag=True,
    help="A line of JSON for each new job or array: job_id, rerun_of, priority, gpus, hold, members.",
)
def rerun(jobs: tuple[str, ...], failed: bool, json_: bool, **changed: object) -> None:
    """Submit a job's spec once more, as a new job that remembers which it repeats.

    The options change what it was submitted with. What held it back then
    (--after, --begin, --hold) is not taken over. Members of an array become one
    array again, with the numbers they had.
    """
    from forgather_spool.cli.job.rerun import rerun_each
    from forgather_spool.cli.submit.one import entered

    spool = _spool()
    job_ids = find_all(spool, jobs)
    try:  # what was submitted before one was refused is to start too
        for new in rerun_each(spool, job_ids, collect(changed), failed=failed):
            click.echo(one_line(new).decode() if json_ else entered(str(new["job_id"]), new), nl=not json_)
    finally:
        nudge(spool)


add_control_verbs(job)


def _spool() -> Spool:
    spool = Spool()
    spool.check()
    return spool


def _existing_attempt(spool: Spool, job_id: str, attempt: int | None) -> int | None:
    if attempt is None or not is_job_id(job_id):
        return None
    last = spool.attempt(job_id)
    if attempt > last:
        raise UsageError(f"job {job_id} has no attempt {attempt}", hint=f"its last is attempt {last}")
    return attempt


def _duration_s(text: str) -> float:
    from forgather_spool.cli.quantities import duration_s

    return duration_s(text)


def _nudge_if_going(spool: Spool, *job_ids: str) -> None:
    if any(job.state not in ENDED for job in look_all(spool, job_ids)):
        nudge(spool)
