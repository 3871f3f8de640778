"""`forgather top`: asks for what it needs, then `app.py` has the screen."""

from __future__ import annotations

import sys

import click

from forgather_spool.cli.watching import can_draw
from forgather_spool.errors import Missing, UsageError
from forgather_spool.spool.queue import Spool


@click.command()
def top() -> None:
    """The queue, the cards and the selected job's output on one screen, with keys to act. ? shows them."""
    if not (sys.stdin.isatty() and can_draw()):
        hint = "forgather sched list --watch; forgather job top --once"
        raise UsageError("top needs a terminal to draw on and to read keys from", hint=hint)
    spool = Spool()
    spool.check()
    try:
        from forgather_spool.cli.top.app import TopApp
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise Missing("top needs textual, which is not installed", hint="pip install 'forgather-spool[top]'") from None
    TopApp(spool).run()
