"""`sched notify`: who is told of the end of jobs that name nobody themselves; kept in dispatch.json."""

from __future__ import annotations

from typing import Any

from forgather_spool.cli.show import shown
from forgather_spool.errors import UsageError
from forgather_spool.notify.target import parse
from forgather_spool.spool import settings
from forgather_spool.spool.queue import Spool


def change(spool: Spool, targets: list[str] | None, when: str | None) -> dict[str, Any]:
    """Set what is not None; what holds now: version, notify, notify_on.

    Raises:
        UsageError: nobody can be told so, nobody and somebody are named, or `when` is of nobody.
        BadDocument, UnreadableFile: dispatch.json is damaged.
    """
    changes: dict[str, object] = {}
    if targets is not None:
        named = [target for target in targets if parse(target) is not None]
        if named and len(named) < len(targets):
            raise UsageError("none with others: either nobody is told or they are", hint="leave one of them out")
        changes["notify"] = named
    if when is not None:
        if not changes.get("notify", settings.dispatch(spool.paths)["notify"]):
            hint = f"say whom: forgather sched notify --on {when} TARGET..."
            raise UsageError(f"--on {when}: nobody is set to be told of it", hint=hint)
        changes["notify_on"] = when
    dispatch = settings.change_dispatch(spool.paths, **changes) if changes else settings.dispatch(spool.paths)
    return {"version": 1, "notify": dispatch["notify"], "notify_on": dispatch["notify_on"]}


def as_lines(found: dict[str, Any]) -> list[str]:
    """For people, webhooks without what may be secret in them."""
    if not found["notify"]:
        return ["nobody is told, unless a job names somebody"]
    when = "of failures" if found["notify_on"] == "failure" else "of every end"
    return [f"told {when}: {shown(str(parse(target)))}" for target in found["notify"]]
