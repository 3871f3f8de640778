"""Groups of jobs: their settings, and how many of each wait and run.

A group is what jobs say they belong to; it need not be made first. Only one
with settings stands in ``dispatch.json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from forgather_spool.cli.show import shown
from forgather_spool.cli.table import render
from forgather_spool.document import Document
from forgather_spool.errors import UsageError
from forgather_spool.spool import settings
from forgather_spool.spool.look import read_all
from forgather_spool.spool.place import Place, active_places, held_places, waiting_places
from forgather_spool.spool.queue import Spool

HEADERS = ("Group", "Limit", "State", "Waiting", "Held", "Running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to set; None leaves it. `no_limit` takes a limit away."""

    limit: int | None = None
    no_limit: bool = False
    paused: bool | None = None


def change(spool: Spool, name: str, wanted: Change) -> Document:
    """Set it, durable on return; the group's settings now. Raises as `settings.change_groups`."""
    edited: Document = {}

    def edit(groups: Document) -> None:
        group = groups.setdefault(name, {})
        assert isinstance(group, dict)
        if wanted.limit is not None or wanted.no_limit:
            group["limit"] = wanted.limit
        if wanted.paused is not None:
            group["paused"] = wanted.paused
        edited.update({"limit": None, "paused": False, **group})

    settings.change_groups(spool.paths, edit)
    return edited


def remove(spool: Spool, name: str) -> None:
    """Take away its limit and its pause. Raises UsageError: it has no settings."""

    def edit(groups: Document) -> None:
        if groups.pop(name, None) is None:
            known = ", ".join(sorted(groups)) or "none has any"
            raise UsageError(f"group {name} has no settings", hint=f"groups with settings: {known}")

    settings.change_groups(spool.paths, edit)


def listed(spool: Spool) -> list[Document]:
    """Each group that has settings or a job that has not ended, by name.

    group, limit, paused, waiting, held, running.
    """
    set_up = settings.dispatch(spool.paths)["groups"]
    assert isinstance(set_up, dict)
    held, waiting, running = (_counts(spool, places(spool)) for places in (held_places, waiting_places, active_places))
    return [
        {
            "group": name,
            "limit": set_up.get(name, {}).get("limit"),
            "paused": set_up.get(name, {}).get("paused", False),
            "waiting": waiting[name],
            "held": held[name],
            "running": running[name],
        }
        for name in sorted({*set_up, *held, *waiting, *running})
    ]


def as_table(groups: list[Document], *, width: int | None) -> list[str]:
    rows = [
        (
            shown(str(group["group"])),
            "-" if group["limit"] is None else str(group["limit"]),
            "paused" if group["paused"] else "open",
            *(str(group[count]) for count in ("waiting", "held", "running")),
        )
        for group in groups
    ]
    return render(HEADERS, rows, width=width, name_column=0)


def _counts(spool: Spool, places: Iterable[Place]) -> Counter[str]:
    return Counter(job.spec.group for job in read_all(spool, places) if job.spec and job.spec.group)
