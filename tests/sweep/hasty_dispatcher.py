"""The dispatcher, with its pauses after a failure cut short, and that of its belt: a sweep meets hundreds of them."""

from __future__ import annotations

import sys

from forgather_spool.cli import reported
from forgather_spool.dispatcher import deciding, entry, life, next_look

if __name__ == "__main__":
    life.PAUSE_AFTER_FAILURE_S = next_look.RETRY_S = 0.02
    deciding.BELT_S = next_look.BELT_S = 2.0  # until a card that could not be read is read again
    sys.exit(reported(entry.live))
