"""``python -m forgather_spool.dispatcher``: what the unit runs, and `forgather dispatch --foreground` by hand."""

from __future__ import annotations

import sys

from forgather_spool.importing import hasten

hasten()

from forgather_spool.cli import reported  # noqa: E402
from forgather_spool.dispatcher.entry import live  # noqa: E402

if __name__ == "__main__":
    sys.exit(reported(lambda: live(explain="--explain" in sys.argv[1:])))
