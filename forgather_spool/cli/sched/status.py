"""The one line of `sched status`: what the queue does, and who is awake to do it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from forgather_spool.cli.spans import ago
from forgather_spool.dispatcher.published import awake_pid, host_document
from forgather_spool.dispatcher.view import default_no_gpu_limit
from forgather_spool.dispatcher.wake import is_awake
from forgather_spool.errors import BadDocument
from forgather_spool.host import proc
from forgather_spool.host.detect import detect
from forgather_spool.job import parse_at
from forgather_spool.spool import files, settings
from forgather_spool.spool.batch import help_along
from forgather_spool.spool.place import active_places, rejected_places
from forgather_spool.spool.queue import Spool


def sched_status(spool: Spool) -> dict[str, Any]:
    """What `sched status --json` prints; the keys are a promise.

    version, enabled, paused_at, queued, held, running, rejected_files, no_gpu_limit,
    host {name, kind}, dispatcher {awake, pid, last_seen_at}, other_hosts [names].

    Raises:
        BadDocument, UnreadableFile: dispatch.json is damaged; then nothing starts.
    """
    help_along(spool)
    dispatch = settings.dispatch(spool.paths)
    host_name = proc.host_name()
    published = host_document(spool, host_name)
    pid = awake_pid(spool, host_name)
    documents = (name.removesuffix(".json") for name in files.names(spool.paths.hosts) if name.endswith(".json"))
    return {
        "version": 1,
        "enabled": not dispatch["paused"],
        "paused_at": dispatch["paused_at"],
        "queued": spool.count_waiting(),
        "held": len(spool.held()),
        "running": len(active_places(spool)),
        "rejected_files": len(rejected_places(spool)),
        "no_gpu_limit": dispatch["no_gpu_limit"] or default_no_gpu_limit(),
        "host": {"name": host_name, "kind": _kind()},
        "dispatcher": {
            "awake": is_awake(spool.paths),
            "pid": pid,
            "last_seen_at": published and published["last_seen_at"],
        },
        "other_hosts": sorted({*documents, *spool.hosts_with_jobs()} - {host_name}),
    }


def as_line(status: dict[str, Any], now: datetime | None = None) -> str:
    """E.g. ``enabled=True queued=2 running=3 host=systemd dispatcher=awake(4711) last_seen=1s ago``."""
    dispatcher = status["dispatcher"]
    words = [
        f"enabled={status['enabled']}",
        f"queued={status['queued']}",
        *([f"held={status['held']}"] if status["held"] else []),
        f"running={status['running']}",
        *([f"rejected={status['rejected_files']}"] if status["rejected_files"] else []),
        f"host={status['host']['kind']}",
        "dispatcher=" + _shown_dispatcher(dispatcher),
        f"last_seen={_last_seen(dispatcher['last_seen_at'], now or datetime.now(UTC))}",
    ]
    return " ".join(words)


def _shown_dispatcher(dispatcher: dict[str, Any]) -> str:
    if not dispatcher["awake"]:
        return "asleep"
    return "awake" if dispatcher["pid"] is None else f"awake({dispatcher['pid']})"


def _last_seen(text: str | None, now: datetime) -> str:
    if text is None:
        return "never"
    try:
        return ago(parse_at(text), now)
    except BadDocument:
        return "never"


def _kind() -> str:
    host = detect(os.environ)
    try:
        return host.kind
    finally:
        host.close()
