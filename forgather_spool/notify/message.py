"""What is said to people: the subject and the lines of a mail. Pure."""

from __future__ import annotations

from typing import Any

from forgather_spool.document import Document

LAST_LINES = 20


def subject(job: dict[str, Any], ending: str) -> str:
    """One line, e.g. "train-7b: exited 1 on box (q_1738012412345_a1b2c3d4)"."""
    named = job["name"] or " ".join(job["argv"] or ["job"])
    where = f" on {job['host']}" if job["host"] else ""
    return _one_line(f"{named[:80]}: {ending}{where} ({job['job_id']})")


def body(job: dict[str, Any], ending: str, output: str) -> str:
    """Facts, then the last lines the job wrote."""
    facts = {
        "job": job["job_id"],
        "name": job["name"],
        "outcome": ending,
        "host": job["host"],
        "submitted": job["submitted_at"],
        "started": job["started_at"],
        "ended": job["ended_at"],
        "log": job["output_path"],
    }
    lines = [f"{key + ':':<11}{_one_line(str(value))}" for key, value in facts.items() if value is not None]
    last = output.splitlines()[-LAST_LINES:]
    return "\n".join([*lines, *(["", "The last it wrote:", "", *last] if last else []), ""])


def environment(job: Document, base: dict[str, str], spec_env: dict[str, str], home: str) -> dict[str, str]:
    """What a command finds: the host's few variables, over them the job's, over them ours; no cards."""
    outcome: Any = job["outcome"] or {}
    status = job["exit_status"]
    of_the_host = {name: value for name, value in base.items() if not name.startswith(("FORGATHER_", "PYTHON"))}
    return {
        **of_the_host,
        **spec_env,
        "FORGATHER_HOME": home,
        "FORGATHER_JOB_ID": str(job["job_id"]),
        "FORGATHER_JOB_NAME": str(job["name"] or ""),
        "FORGATHER_OUTCOME": str(outcome.get("kind", "")),
        "FORGATHER_EXIT_STATUS": "" if status is None else str(status),
        "CUDA_VISIBLE_DEVICES": "",
    }


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
