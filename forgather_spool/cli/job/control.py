"""The verbs of `forgather control` on queued jobs: `forgather job save|stop|save-stop|abort JOB`."""

from __future__ import annotations

from typing import Any

import click

from forgather_spool.cli.control.asking import VERBS, ask, options
from forgather_spool.cli.job.words import job_words
from forgather_spool.spool.families import find_one
from forgather_spool.spool.queue import Spool


def add_to(group: click.Group) -> None:
    """Give `group` a command for each verb."""
    for verb in VERBS:
        _add(group, verb)


def _add(group: click.Group, verb: str) -> None:
    @group.command(verb, help=VERBS[verb].help)
    @click.argument("job", metavar="JOB", shell_complete=job_words)
    @options(verb)
    def command(job: str, **how: Any) -> None:
        ask(find_one(Spool(), job), verb, **how)
