"""Asking a trainer from the command line: one implementation for `forgather control` and `forgather job`.

The verbs people type are in `VERBS`. What came of one is a line on stdout, or
an error whose exit code says how it was: 1 refused or failed, 124 no answer in
time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.quantities import duration_s
from forgather_spool.cli.show import shown
from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError, JobFailed, UsageError, WaitedLongEnough
from forgather_spool.trainer_control import TIMEOUT_S, ControlResponse, send

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Verb:
    """`said` is how its success reads; `help` what it does, for people."""

    command: str
    said: str
    help: str


VERBS = {
    "save": Verb("save_checkpoint", "saved", "Have a checkpoint saved now; training goes on."),
    "stop": Verb("graceful_stop", "stopping", "Have it finish its step and end, saving as it does at its own end."),
    "save-stop": Verb(
        "save_and_stop", "saved and stopping", "Have a checkpoint saved, whatever its strategy, then end."
    ),
    "abort": Verb("abort", "aborted", "Have it end at once without saving. Asks first."),
}


def options(verb: str) -> Callable[[Command], Command]:
    """The options every verb has; `abort` also ``--yes``."""

    def add(command: Command) -> Command:
        command = click.option("--json", "json_", is_flag=True, help="What came of it as one JSON object.")(command)
        command = click.option(
            "--timeout",
            metavar="TIME",
            help=f"Give up after this long, e.g. 90s, with exit 124; the trainer refuses it later. [{TIMEOUT_S:g}s]",
        )(command)
        command = click.option("--no-wait", is_flag=True, help="Ask, and do not wait for the answer.")(command)
        if verb == "abort":
            command = click.option("--yes", "--force", "yes", is_flag=True, help="Do not ask first.")(command)
        return command

    return add


def ask(job_id: str, verb: str, *, no_wait: bool, timeout: str | None, json_: bool, yes: bool = True) -> None:
    """Send `verb`, wait unless told not to, and say what came of it.

    Raises:
        UsageError: `abort` was not confirmed and there is nobody to ask.
        JobFailed: refused or failed, or there is no trainer.
        WaitedLongEnough: no answer in time.
    """
    if not yes:
        _confirm(job_id)
    timeout_s = duration_s(timeout) if timeout is not None else None if no_wait else TIMEOUT_S
    response = send(job_id, VERBS[verb].command, timeout_s=timeout_s, wait=not no_wait)
    problem = _problem(response, verb, timeout_s)
    if json_:
        click.echo(as_json(_document(response)))
        sys.exit(0 if problem is None else problem.exit_code)
    if problem is not None:
        raise problem
    click.echo(_line(response, verb))


def confirmed(question: str) -> bool:
    """The answer of a person at the terminal.

    Raises:
        UsageError: there is none.
    """
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm it", hint="add --yes")
    return click.confirm(question, err=True)


def _confirm(job_id: str) -> None:
    if not confirmed(f"Abort {shown(job_id)} without saving?"):
        raise JobFailed("not aborted")


def _line(response: ControlResponse, verb: str) -> str:
    if response.acknowledgement is None:
        return f"asked: {response.command_id}"
    answer = response.acknowledgement
    parts = [] if answer["step"] is None else [f"step {answer['step']}"]
    if answer["checkpoint"] is not None:
        parts.append(shown(str(answer["checkpoint"])))
    return VERBS[verb].said + (f": {', '.join(parts)}" if parts else "")


def _problem(response: ControlResponse, verb: str, timeout_s: float | None) -> ForgatherError | None:
    hint = f"forgather control status {response.job_id}"
    if response.outcome == "unanswered":
        message = f"{response.job_id}: no answer to {verb} within {timeout_s:g} s; it may have begun"
        return WaitedLongEnough(message, hint=hint)
    if not response.success:
        return JobFailed(f"{response.job_id}: {verb} {response.outcome}: {response.message}", hint=hint)
    return None


def _document(response: ControlResponse) -> Document:
    answer = response.acknowledgement or {}
    return {
        "job_id": response.job_id,
        "command": response.command,
        "command_id": response.command_id,
        "outcome": response.outcome,
        **{name: answer.get(name) for name in ("step", "checkpoint", "reason", "answered_at", "answered_by")},
        "data": response.data,
    }
