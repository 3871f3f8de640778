"""A start for practice, of a job that is none: by a child that waits for its first.

A forked child shares its memory with the nursery until one of them writes to a page, and Python writes to what it
only looks at. So the first start in a child takes twice as long as the second; let this be the first. It goes as far
as a start can go where there is nothing: what it looks for lies nowhere, and what it starts is no program.
"""

from __future__ import annotations

from forgather_spool.document import parse
from forgather_spool.errors import ForgatherError
from forgather_spool.runner.command import Command
from forgather_spool.runner.family import Family
from forgather_spool.runner.output import OutputLog
from forgather_spool.runner.ready import make_ready
from forgather_spool.runner.request import Request, spelled
from forgather_spool.runner.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from forgather_spool.document import Document


def rehearse(home: str) -> None:
    """Go through all that stands between "make ready" and the command. Writes nothing, and cannot fail."""
    ready = make_ready(Request.from_bytes(spelled(_REQUEST)), home, is_early=False)
    ready.take_start()
    ready.is_ours(parse(_CLAIM))
    paths, job_id, attempt = ready.spool.paths, ready.request.job_id, ready.request.attempt
    Family(ready.request.scope)
    OutputLog(paths.output(job_id, attempt)).close()
    nothing = paths.script(job_id, attempt)
    try:
        spawn(Command(nothing, [nothing], "/", {"PATH": "/bin"}, tty=False))
    except (ForgatherError, OSError):
        pass  # as was to be expected


_REQUEST: Document = {
    "job_id": "q_0000000000_00000000", "priority": 0, "host": "-", "attempt": 1, "scope": "-", "gpus": [],
    "env": {"PATH": "/bin"}, "cuda_visible_devices": "",
    "spec": {
        "argv": ["sh"], "cwd": "/", "env": {"PATH": "/bin"}, "script": None, "snapshot": None, "tty": False,
        "array": None,
    },
}  # fmt: skip
_CLAIM = b"""{"attempt": 1, "host": "-", "host_kind": "process", "boot_id": "-", "scope": "-", "priority": 0,
    "gpus": [], "runner": {"pid": 1, "start_ticks": 0}, "claimed_at": "-"}"""
