"""For `make coverage` alone: a coverage plugin that has dispatchers and runners measured too.

They are started with few variables, the nursery without site-packages as well,
so that coverage's own hook does not reach them. Here each start is changed, in
every measured program: the variable coverage is told by stays, and `-S` goes.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

FLAGS = ["-E", "-s", "-S"]
TOLD_BY = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


class MeasuredPopen(subprocess.Popen):
    def __init__(self, args: Any, *more: Any, env: dict[str, str] | None = None, **named: Any) -> None:
        if isinstance(args, list) and args[1:4] == FLAGS:
            args = [args[0], *args[4:]]
        if env is not None:
            env = {**env} | {name: os.environ[name] for name in TOLD_BY if name in os.environ}
        super().__init__(args, *more, env=env, **named)


def coverage_init(registry: Any, options: dict[str, Any]) -> None:
    subprocess.Popen = MeasuredPopen  # type: ignore[misc]
