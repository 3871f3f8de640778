"""What a submit says that does not fit together, and the jobs it names: looked at before anything is written.

Imported only when the spec has one of the fields concerned.
"""

from __future__ import annotations

from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, NoSuchJob, UsageError

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
    """Raise UsageError for the first option that another one contradicts, or that means nothing without one."""
    if spec.get("unique") and spec.get("array"):
        raise UsageError("--unique with --array: a key is of one job", hint="submit it by itself")
    told = spec.get("notify")
    if isinstance(told, list) and len(told) > 1 and "none" in told:
        raise UsageError("--notify none with others: either nobody is told or they are", hint="leave one of them out")
    for field, needed, option, missing in _NEEDS:
        if spec.get(field) and not spec.get(needed):
            raise UsageError(f"{option} without {missing}", hint="forgather submit --help")


def drop_what_means_nothing_now(spec: Document, inherited: Document) -> None:
    """Take out of `spec` what it only has from `inherited` and what is no use without a field that it lacks by now.

    A rerun with ``--retries 0`` says nothing of the delay between retries, and cannot.
    """
    for field, needed, _, _ in _NEEDS:
        if field in inherited and not spec.get(needed):
            spec.pop(field, None)


def refuse_unknown_words(spec: Document) -> None:
    """Of a spec that somebody wrote as one, after `resolve_after`. Raises BadDocument."""
    from forgather_spool.notify.target import parse
    from forgather_spool.spool.entering import check_words

    check_words(spec)
    told = spec.get("notify")
    for i, target in enumerate(told if isinstance(told, list) else []):
        try:
            parse(target)
        except UsageError as error:
            raise BadDocument(f"$.notify[{i}]", str(error), hint=error.hint) from None


def resolve_after(spool: Spool, spec: Document) -> None:
    """Put the ids of the jobs meant into `after`: a name may mean another job tomorrow.

    A whole array is waited for by its own id, whatever becomes of its members.

    Raises:
        UsageError: one of them is no job, or may be several.
    """
    from forgather_spool.spool.names import is_job_id

    entries = spec.get("after")
    resolved: list[Document] = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            job_ids = _meant(spool, entry["job"])
        except NoSuchJob as error:
            raise _not_met(str(entry["job"]), error) from None
        if not all(map(is_job_id, job_ids)):
            raise UsageError(f"--after {entry['job']}: is a file that was rejected, and will never run")
        wishes = [{"job": job_id, "when": entry["when"]} for job_id in job_ids]
        resolved += [wish for wish in wishes if wish not in resolved]
    spec["after"] = resolved


def _not_met(text: str, error: NoSuchJob) -> UsageError:
    """A job's name may have a colon in it, so whether its end was meant as a condition shows only here."""
    whole, colon, when = text.rpartition(":")
    if not (colon and whole):
        return UsageError(f"--after {text}: {error}", hint=error.hint)
    from forgather_spool.cli.submit.order_words import WHEN_WORDS

    words = " or ".join(WHEN_WORDS)
    return UsageError(f"--after {text}: no job of that name, and {when!r} is no condition", hint=f"{whole}:{words}")


def _meant(spool: Spool, text: str) -> list[str]:
    from forgather_spool.spool.families import find_all
    from forgather_spool.spool.names import family_of

    found = find_all(spool, [text])
    family = family_of(found[0])
    is_whole = family is not None and ("[" not in text or text.endswith("[*]"))
    return [family] if is_whole and family is not None else found
