"""One warning per problem: control must neither end a run nor fill its log."""

from __future__ import annotations

import sys

_said: set[str] = set()


def warn_once(message: str) -> None:
    """Say `message` on stderr, the first time only."""
    if message not in _said:
        _said.add(message)
        print(f"forgather: {message}", file=sys.stderr, flush=True)
