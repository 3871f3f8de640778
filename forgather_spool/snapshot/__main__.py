"""``enter HOME JOB SPEC SCRIPT``: a job's first process. ``sweep HOME``: remove worktrees of ended jobs.

By its path and not with ``-m``: the job's own PYTHONPATH must not decide what is imported.
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if sys.argv[1] == "enter":
    from forgather_spool.snapshot.enter import main

    sys.exit(main(*sys.argv[2:6]))

from forgather_spool.snapshot.sweep import sweep_worktrees  # noqa: E402
from forgather_spool.spool.queue import Spool  # noqa: E402

sweep_worktrees(Spool(sys.argv[2]))
