"""What completes JOB on a command line: names of what waits and runs, and ids, the latest last."""

from __future__ import annotations

import re
from itertools import islice

import click

from forgather_spool.errors import ForgatherError
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.look import read_all
from forgather_spool.spool.place import Place, active_places, held_places, waiting_places
from forgather_spool.spool.queue import Spool

ENDED_OFFERED = 100  # a shell that shows more shows nothing
NAMES_READ = 100  # each costs opening a file

# Lands unquoted on a command line: a name with a blank, a quote or a $ in it must not.
_HARMLESS = re.compile(r"[\w.+:@%/-]+")


def job_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Words that begin with `incomplete`. None where the spool cannot be read: a prompt is no place for an error."""
    try:
        spool = Spool()
        going_on: list[Place] = [*active_places(spool), *waiting_places(spool), *held_places(spool)]
        named = [job.spec.name for job in read_all(spool, islice(going_on, NAMES_READ)) if job.spec and job.spec.name]
        ids = [place.job_id for place in (*going_on, *islice(ended_places(spool), ENDED_OFFERED))]
    except ForgatherError:
        return []
    return [word for word in dict.fromkeys([*named, *ids]) if word.startswith(incomplete) and _HARMLESS.fullmatch(word)]
