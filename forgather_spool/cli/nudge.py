"""Having a dispatcher look: a job whose runner died while none was awake still says that it runs."""

from __future__ import annotations

import click

from forgather_spool.errors import ForgatherError
from forgather_spool.spool.queue import Spool


def nudge(spool: Spool) -> None:
    """Wake the dispatcher. Cannot fail: without it only what has changed is seen later, so that is said."""
    from forgather_spool.dispatcher.wake import wake

    try:
        wake(spool.paths)
    except ForgatherError as error:
        click.echo(f"warning: no dispatcher could be woken: {error}", err=True)


def nudge_to_tell(spool: Spool) -> None:
    """After a cancel: wake the dispatcher if somebody wants to be told of an end, and only then."""
    from forgather_spool.spool import files

    if files.names(spool.paths.notices):
        nudge(spool)
