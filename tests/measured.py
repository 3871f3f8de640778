"""For `make coverage` alone: a coverage plugin that has the runners measured too.

The nursery is started without site-packages and with few variables, so that
coverage's own hook does not reach it. Here its first words are changed, in
every measured program: `-S` goes, and the variable coverage is told by stays.
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
            env = (env or {}) | {name: os.environ[name] for name in TOLD_BY if name in os.environ}
        super().__init__(args, *more, env=env, **named)


def coverage_init(registry: Any, options: dict[str, Any]) -> None:
    subprocess.Popen = MeasuredPopen  # type: ignore[misc]
