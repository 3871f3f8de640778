"""A dataset server as a job: its spec, in the queue."""

from __future__ import annotations

import os
import sys
from typing import Any

from forgather_spool import schema
from forgather_spool.cli import warn
from forgather_spool.cli.nudge import nudge
from forgather_spool.cli.submit import environment
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UsageError
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.submit import submit

GRACE_S = 10.0


def put_into_queue(
    given: dict[str, Any], config: str | None, settings: Any, *, priority: int, name: str | None
) -> None:
    """Queue a server with these words. `settings` is what they come to, checked.

    Raises:
        UsageError: a token among the words: a job's spec is kept and shown.
    """
    if given.get("auth_token") is not None:
        raise UsageError("a job's words are kept and shown: no token among them", hint="--auth-token-file FILE")
    chosen, withheld = environment.chosen(os.environ)
    for remark in environment.not_recorded(withheld, os.environ):
        warn(remark)
    spec: Document = {
        "version": schema.VERSION,
        "argv": [sys.executable, "-P", "-m", "forgather_spool.dataset_server", *words_of(given, config)],
        "cwd": os.getcwd(),
        "env": chosen,
        "name": name or f"dataset-server-{settings.port}",
        "priority": priority,
        "grace_s": GRACE_S,
        "type": "dataset-server",
        "job_params": {"port": settings.port, "local": sorted(settings.local)},
    }
    try:
        schema.check(spec, schema.SPEC, unknown="refuse")
    except BadDocument as error:
        raise UsageError(f"{error.where.removeprefix('$.')}: {error.problem}", hint=error.hint) from None
    spool = Spool()
    job_id = submit(spool.create(), spec)
    try:
        sys.stdout.write(f"queued: {job_id} (priority={priority}, port={settings.port})\n")
        sys.stdout.flush()
    finally:
        nudge(spool)


def words_of(given: dict[str, Any], config: str | None) -> list[str]:
    """The words of a command line that gives these settings again."""
    words = [] if config is None else ["--config", os.path.abspath(config)]
    for key, value in given.items():
        flag = f"--{key.replace('_', '-')}"
        if key == "local":
            words += [word for name, path in value.items() for word in (flag, f"{name}={path}")]
        elif isinstance(value, list):
            words += [word for one in value for word in (flag, one)]
        elif isinstance(value, bool):
            words.append(flag if value else _OFF[key])
        elif key in ("auth_token_file", "tls_cert", "tls_key"):
            words += [flag, os.path.abspath(os.path.expanduser(value))]
        else:
            words += [flag, str(value)]
    return words


_OFF = {
    "no_hf": "--hf",
    "no_auth": "--auth",
    "allow_paths": "--no-allow-paths",
    "allow_downloads": "--no-allow-downloads",
    "tls": "--no-tls",
    "insecure": "--no-insecure",
    "quiet_tokens": "--show-tokens",
    "regen_token": "--keep-token",
}
