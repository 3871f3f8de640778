"""`forgather dispatch`: the dispatcher by hand, for looking over its shoulder."""

from __future__ import annotations

import os

import click

from forgather_spool.dispatcher.wake import wake
from forgather_spool.spool.queue import Spool


@click.command()
@click.option(
    "--foreground", is_flag=True, help="Run here, saying what is done and why each job waits; Ctrl-C ends it."
)
def dispatch(foreground: bool) -> int:
    """Wake the dispatcher, or run it here. It leaves when there is nothing left to do; jobs outlive it."""
    if foreground:
        from forgather_spool.dispatcher.entry import live

        return live(explain=True)
    os.environ.pop("FORGATHER_NO_WAKE", None)
    wake(Spool().create().paths)
    return 0
