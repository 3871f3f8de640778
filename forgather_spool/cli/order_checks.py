"""What a submit says that does not fit together, and the jobs it names: looked at before anything is written.

Imported only when the spec has one of the fields concerned.
"""

from __future__ import annotations

from forgather_spool.document import Document
from forgather_spool.errors import NoSuchJob, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from forgather_spool.spool.queue import Spool

_NEEDS = (  # field, the one it says nothing without, and how these are called on the command line
    ("shared", "gpu_memory_bytes", "--shared", "--gpu-memory SIZE, its share of each card"),
    ("shared", "gpus", "--shared", "--gpus N: there is no card to share"),
    ("jobs_per_gpu", "gpus", "--jobs-per-gpu", "--gpus N: there is no card to share"),
    ("preemptible", "gpus", "--preemptible", "--gpus N: there is no card to give way with"),
    ("retry_on", "retries", "--retry-on", "--retries N: nothing is run again"),
    ("retry_delay_s", "retries", "--retry-delay", "--retries N: nothing is run again"),
    ("after_unmet", "after", "--after-unmet", "--after JOB"),
    ("notify_on", "notify", "--notify-on", "--notify WHOM"),
)


def refuse_contradictions(spec: Document) -> None:
    """Raise UsageError for the first option that means nothing without one that is missing."""
    if spec.get("unique") and spec.get("array"):
        raise UsageError("--unique with --array: a key is of one job", hint="submit it by itself")
    for field, needed, option, missing in _NEEDS:
        if spec.get(field) and not spec.get(needed):
            raise UsageError(f"{option} without {missing}", hint="forgather submit --help")


def resolve_after(spool: Spool, spec: Document) -> None:
    """Put the ids of the jobs meant into `after`: a name may mean another job tomorrow.

    Raises:
        UsageError: one of them is no job, or may be several.
    """
    from forgather_spool.spool.look import find
    from forgather_spool.spool.paths import is_job_id

    entries = spec.get("after")
    resolved: list[Document] = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            job_id = find(spool, entry["job"])
        except NoSuchJob as error:
            raise UsageError(f"--after {entry['job']}: {error}", hint=error.hint) from None
        if not is_job_id(job_id):
            raise UsageError(f"--after {entry['job']}: is a file that was rejected, and will never run")
        if (waits_for := {"job": job_id, "when": entry["when"]}) not in resolved:
            resolved.append(waits_for)
    spec["after"] = resolved
