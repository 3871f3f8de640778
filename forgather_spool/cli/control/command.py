"""`forgather control`: any trainer, queued by us or started by hand, on this host or over a shared home.

JOB_ID is a trainer's id, the beginning of just one, or a queued job's id or name.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import click

from forgather_spool.cli import tell
from forgather_spool.cli.control.asking import VERBS, ask, confirmed, options
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.quantities import duration_s
from forgather_spool.cli.show import shown
from forgather_spool.cli.spans import ago
from forgather_spool.cli.table import render
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, JobFailed
from forgather_spool.spool.paths import Paths, default_home
from forgather_spool.trainer_control import get_job_status
from forgather_spool.trainers import JobInfo, find_trainer, forget, look_at_all

HEADERS = ("Status", "Job", "Step", "Host", "Endpoint", "PID", "Started", "Output")
NAME_COLUMN = 1


@click.group()
def control() -> None:
    """Ask a running trainer: where it is, to save, to stop."""


@control.command("list")
@click.option("--json", "json_", is_flag=True, help="A JSON list, one object a trainer.")
def list_(json_: bool) -> None:
    """Every trainer with an endpoint file, newest first; the dead ones until `cleanup`."""
    from forgather_spool.cli.table import terminal_width

    trainers, problems = look_at_all(Paths(default_home()))
    if json_:
        click.echo(as_json([_document(trainer) for trainer in trainers]))
    else:
        rows = [_row(trainer) for trainer in trainers]
        table = render(HEADERS, rows, width=terminal_width(), name_column=NAME_COLUMN)
        click.echo("\n".join(table) or "no trainers")
    for problem in problems:
        tell(problem)


@control.command()
@click.argument("job", metavar="JOB_ID")
@click.option("--json", "json_", is_flag=True, help="One flat JSON object, metrics included.")
def status(job: str, json_: bool) -> None:
    """Step, epoch, and the latest metrics."""
    from forgather_spool.cli.control.status import text_of

    click.echo(text_of(job, json=json_))


def _add(verb: str) -> None:
    @control.command(verb, help=VERBS[verb].help)
    @click.argument("job", metavar="JOB_ID")
    @options(verb)
    def command(job: str, **how: Any) -> None:
        ask(find_trainer(Paths(default_home()), job), verb, **how)


for _verb in VERBS:
    _add(_verb)


@control.command()
@click.option("--force", "--yes", "force", is_flag=True, help="Do not ask first.")
@click.option("--ttl", metavar="TIME", help="Also trainers of other hosts that have said nothing for so long, e.g. 2d.")
@click.option("--json", "json_", is_flag=True, help="A JSON list of the ids that were removed.")
def cleanup(force: bool, ttl: str | None, json_: bool) -> None:
    """Remove the endpoint files of dead trainers. What they said and were asked stays."""
    paths = Paths(default_home())
    trainers, problems = look_at_all(paths)
    silence_s = None if ttl is None else duration_s(ttl)
    dead = [trainer for trainer in trainers if trainer.alive is False or _is_silent(trainer, silence_s)]
    names = ", ".join(shown(trainer.job_id) for trainer in dead)
    if dead and not force and not confirmed(f"Remove the endpoint files of {names}?"):
        raise JobFailed("nothing was removed")
    removed = [trainer.job_id for trainer in dead if forget(paths, trainer)]
    click.echo(as_json(removed) if json_ else f"removed {len(removed)}" + (f": {names}" if removed else ""))
    for problem in problems:
        tell(problem)


def _is_silent(trainer: JobInfo, silence_s: float | None) -> bool:
    if trainer.alive is not None or silence_s is None:
        return False
    said_at = _status(trainer).get("timestamp") or trainer.started_at.timestamp()
    return time.time() - float(str(said_at)) > silence_s


def _status(trainer: JobInfo) -> Document:
    try:
        return get_job_status(trainer.job_id)
    except (JobFailed, BadDocument):  # it ended meanwhile, or its status.json is damaged
        return {"status": "unreadable", "timestamp": None, "global_step": None, "max_steps": None}


def _row(trainer: JobInfo) -> tuple[str, ...]:
    status = _status(trainer)
    step, last = status["global_step"], status["max_steps"]
    return (
        str(status["status"]),
        shown(trainer.job_id),
        "" if step is None else f"{step}" if last is None else f"{step}/{last}",
        shown(trainer.hostname),
        "files" if trainer.port is None else f"{shown(trainer.host)}:{trainer.port}",
        str(trainer.pid),
        _started(trainer),
        shown(trainer.output_dir or ""),
    )


def _started(trainer: JobInfo) -> str:
    try:
        return ago(trainer.started_at, datetime.now(UTC))
    except BadDocument:
        return "?"


def _document(trainer: JobInfo) -> Document:
    """The keys are a promise to scripts."""
    status = _status(trainer)
    return {
        "job_id": trainer.job_id,
        "status": status["status"],
        "alive": trainer.alive,
        "global_step": status["global_step"],
        "max_steps": status["max_steps"],
        "host": trainer.host,
        "port": trainer.port,
        "hostname": trainer.hostname,
        "pid": trainer.pid,
        "started_at": trainer.started_at_text,
        "output_dir": trainer.output_dir,
        "logging_dir": trainer.logging_dir,
    }
