"""``python -m forgather_spool.dispatcher``: what the unit runs, and `forgather dispatch --foreground` by hand."""

from __future__ import annotations

import sys

from forgather_spool.cli import reported
from forgather_spool.dispatcher.entry import live

if __name__ == "__main__":
    sys.exit(reported(lambda: live(explain="--explain" in sys.argv[1:])))
