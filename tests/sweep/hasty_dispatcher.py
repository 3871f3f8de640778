"""The dispatcher, with its pauses after a failure cut to nothing: a sweep meets hundreds of them."""

from __future__ import annotations

import sys

from forgather_spool.cli import reported
from forgather_spool.dispatcher import life, loop

if __name__ == "__main__":
    life.PAUSE_AFTER_FAILURE_S = loop.RETRY_S = 0.02
    sys.exit(reported(life.live))
