"""Checkpoints that are known to be whole: a folder counts once `complete.json`, written last, stands in it.

Everything in the folder is on the disk before that file is, so a power cut or
a full disk leaves a folder that is skipped, never one that half loads.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError, UnreadableFile, UsageError
from forgather_spool.fields import Field, check
from forgather_spool.spool import files

MARKER = "complete.json"
PREFIX = "checkpoint-"
FIELDS: dict[str, Field] = {
    "version": Field("integer", 1, minimum=1, maximum=1),
    "step": Field("integer", minimum=0),
    "saved_at": Field("string"),
    "job_id": Field("string", None, help="the job that saved it; null: none of the queue's"),
    "trains": Field("object", {}, help="the config's parts that a resumed run must have as they were"),
}


def begin(folder: str) -> None:
    """`folder` is about to be written (again): until `complete`, it is no checkpoint."""
    files.discard(f"{folder}/{MARKER}")


def complete(folder: str, step: int, trains: Document) -> None:
    """Everything in `folder` is written: make it durable, then a checkpoint. Raises OSError, StorageFailed."""
    for name in sorted(os.listdir(folder)):
        fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            files.sync(fd)
        finally:
            os.close(fd)
    files.sync_directory(os.path.dirname(os.path.abspath(folder)))
    saved_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    job_id = os.environ.get("FORGATHER_JOB_ID")
    marker: Document = {"version": 1, "step": step, "saved_at": saved_at, "job_id": job_id, "trains": trains}
    files.replace(f"{folder}/{MARKER}", marker, folder)


def newest(output_dir: str, *, of_job: str | None = None) -> str | None:
    """The checkpoint completed last: after a new start into an old folder, that need not be the highest step.

    With `of_job` only that job's count.
    """
    whole = []
    for name in files.names(output_dir):
        folder = f"{output_dir}/{name}"
        marker = _marker(folder) if name.startswith(PREFIX) else None
        if marker is not None and of_job in (None, marker["job_id"]):
            whole.append((marker["saved_at"], marker["step"], folder))
    return max(whole)[2] if whole else None


def to_resume(wanted: str, output_dir: str) -> str:
    """The checkpoint that `--resume` means: a path, or "" for the newest. Raises UsageError where it is none."""
    if wanted:
        if _marker(wanted) is None:
            known = newest(output_dir)
            hint = f"the newest complete one is {known}" if known else "start without --resume"
            raise UsageError(f"--resume: {wanted} is no complete checkpoint (it has no {MARKER})", hint=hint)
        return wanted.rstrip("/")
    folder = newest(output_dir)
    if folder is None:
        raise UsageError(f"--resume: there is no complete checkpoint in {output_dir}", hint="start without --resume")
    return folder


def of_an_earlier_attempt(output_dir: str) -> str | None:
    """What this very job saved last, when the queue runs it again. None: nothing, or it is its first attempt."""
    job_id, attempt = os.environ.get("FORGATHER_JOB_ID"), os.environ.get("FORGATHER_ATTEMPT", "1")
    return newest(output_dir, of_job=job_id) if job_id is not None and attempt != "1" else None


def differences(folder: str, trains: dict[str, Any]) -> list[str]:
    """The parts of the config that are not what they were when the checkpoint was saved."""
    marker = _marker(folder) or {}
    before = marker.get("trains") or {}
    return [name for name in trains if name in before and _placeless(before[name]) != _placeless(trains[name])]


def _placeless(part: Any) -> Any:
    """Without where a stream's data lie: that they are the same is told by their fingerprint, when they are opened."""
    return {**part, "stream": None} if isinstance(part, dict) and "stream" in part else part


def _marker(folder: str) -> dict[str, Any] | None:
    """None: no such file, or it cannot be understood; then the folder is skipped, and stays."""
    try:
        return check(files.read_document(f"{folder}/{MARKER}"), FIELDS)
    except (FileNotFoundError, UnreadableFile, ForgatherError):
        return None
