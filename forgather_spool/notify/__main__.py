"""``python -m forgather_spool.notify``: tell what this host owes, then go. The dispatcher starts it.

0 also when another is at it. What could not be told now stays owed.
"""

from __future__ import annotations

import os
import sys

from forgather_spool.cli import reported
from forgather_spool.cli.job.document import job_document
from forgather_spool.document import Document
from forgather_spool.host import proc
from forgather_spool.notify.tell import LIMIT_S, Teller
from forgather_spool.outcome import describe
from forgather_spool.spool.look import Job
from forgather_spool.spool.queue import Spool


def main() -> int:
    spool = Spool()
    spool.check()

    def described(job: Job) -> tuple[Document, str]:
        ending = describe(job.result.outcome) if job.result else job.problem or job.state.value
        return job_document(spool, job), ending

    limit_s = float(os.environ.get("FORGATHER_NOTIFY_LIMIT_S", LIMIT_S))
    Teller(spool, proc.host_name(), described, limit_s=limit_s).run()
    return 0


if __name__ == "__main__":
    sys.exit(reported(main))
