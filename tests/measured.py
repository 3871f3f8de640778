"""For `make coverage` alone: a coverage plugin that has dispatchers and runners measured too.

They are started with few variables, the nursery without site-packages as well,
so that coverage's own hook does not reach them. Here each start is changed, in
every measured program: the variable coverage is told by stays, and `-S` goes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

FLAGS = ["-E", "-s", "-S"]
TOLD_BY = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")

spawn = os.posix_spawn


class MeasuredPopen(subprocess.Popen):
    def __init__(self, args: Any, *more: Any, env: dict[str, str] | None = None, **named: Any) -> None:
        if isinstance(args, list):
            args = with_site(args)
        super().__init__(args, *more, env=None if env is None else told(env), **named)


def measured_spawn(path: str, argv: Sequence[str], env: Mapping[str, str], **named: Any) -> int:
    """A job's own program is left alone."""
    ours = list(argv[1:4]) == FLAGS or "forgather_spool.dispatcher" in argv
    return spawn(path, with_site(list(argv)), told(env) if ours else env, **named)


def with_site(args: list[Any]) -> list[Any]:
    return [args[0], *args[4:]] if args[1:4] == FLAGS else args


def told(env: Mapping[str, str]) -> dict[str, str]:
    return {**env} | {name: os.environ[name] for name in TOLD_BY if name in os.environ}


def coverage_init(registry: Any, options: dict[str, Any]) -> None:
    subprocess.Popen = MeasuredPopen  # type: ignore[misc]
    os.posix_spawn = measured_spawn  # type: ignore[assignment]
