"""The programs of the queue, forked from an interpreter that has imported them: one for each setting of the loader."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tests.warm import Interpreter, Program

PACKAGES = ("dispatcher", "host", "policy", "runner", "snapshot", "spool", "cli.submit", "cli.sched")


def begin(argv: Sequence[str], env: dict[str, str], stdout: int, stderr: int) -> Program:
    """See `Interpreter.begin`."""
    of_the_loader = frozenset(item for item in env.items() if item[0].startswith("LD_"))
    return _interpreter(of_the_loader).begin(argv, env, stdout, stderr)


@functools.cache
def _interpreter(env: frozenset[tuple[str, str]]) -> Interpreter:
    steady = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    return Interpreter([f"forgather_spool.{name}" for name in PACKAGES], {**steady, **dict(env)})
