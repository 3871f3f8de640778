"""The built-in trainer, held after its third step until somebody has asked it for something: a run that does not end
before the test comes to its question, however the machine is taken up. It goes on in a later attempt, past that step.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from forgather_spool.spool import files
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths
from forgather_spool.training.lm import progress
from forgather_spool.training.lm.__main__ import main
from tests.waiting import wait_until

HELD_AFTER = 3
HELD = "held"  # the file that says so, in its working directory


class Held(progress.Progress):
    """Says how far it is, and waits."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_step_end(args, state, control, **kwargs)
        if state.global_step == HELD_AFTER:
            folder = Mailbox(Paths(os.environ["FORGATHER_HOME"]), os.environ["FORGATHER_JOB_ID"]).folder
            Path(HELD).write_text(f"after step {HELD_AFTER}\n")
            wait_until(lambda: any(name.endswith(".json") for name in files.names(folder)), 600, "a command")


if __name__ == "__main__":
    progress.Progress = Held  # type: ignore[misc]
    sys.exit(main(sys.argv[1:]))
