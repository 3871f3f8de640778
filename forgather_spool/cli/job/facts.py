"""What `job status` and `job show` print for people: facts a line each, files as they are, secrets masked."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime

from forgather_spool.cli.job.document import (
    command_line,
    died_with_its_boot,
    state_now,
    submitted_at,
    training_status,
)
from forgather_spool.cli.quantities import size_text
from forgather_spool.cli.show import shown
from forgather_spool.cli.spans import ago, span
from forgather_spool.document import Document
from forgather_spool.errors import UnreadableFile
from forgather_spool.job import parse_at
from forgather_spool.outcome import describe
from forgather_spool.pending import PendingReason
from forgather_spool.phrases import at_text, local
from forgather_spool.spool import attempts, files
from forgather_spool.spool.look import AttemptSeen, Job, attempts_of
from forgather_spool.spool.names import FIRST_ATTEMPT, is_job_id
from forgather_spool.spool.notices import told
from forgather_spool.spool.output import written_bytes
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import Spool

SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH", "COOKIE", "PRIVATE")
MASK = "***"


def facts(spool: Spool, job: Job, reason: PendingReason | None) -> list[str]:
    """``key: value`` lines; a fact that does not exist has none."""
    paths = spool.paths
    found = [
        *what(job),
        *_where_and_when(job, reason),
        ("training", _training(paths, job)),
        *_how_it_went(paths, job),
        *_where_to_look(paths, job),
        *_earlier_attempts(spool, job),
    ]
    return as_lines(found)


def as_lines(facts: Sequence[tuple[str, object]]) -> list[str]:
    return [f"{key + ':':<13}{shown(str(value))}" for key, value in facts if value is not None]


def what(job: Job) -> list[tuple[str, object]]:
    spec = job.spec
    return [
        ("job", job.job_id),
        ("name", spec and spec.name),
        ("type", spec and spec.type),
        ("group", spec and spec.group),
        ("command", spec and command_line(spec)),
        ("cwd", spec and spec.cwd),
        ("commit", spec and _commit(spec.document)),
        ("priority", job.priority),
        ("problem", job.problem),
    ]


def _commit(spec: Document) -> str | None:
    """E.g. "1a2b3c4d5e6f + 3 changed files, 1 new"; None: it was submitted from no repository."""
    snapshot = spec.get("snapshot")
    if not isinstance(snapshot, dict):
        commit = spec.get("git_commit")
        return f"{commit[:12]}; it runs from what lies there when it starts" if isinstance(commit, str) else None
    changed, new = snapshot.get("changed", 0), snapshot.get("untracked", 0)
    files_changed = f" + {changed} changed file{'s'[: changed != 1]}" if changed else ""
    return f"{str(snapshot.get('commit'))[:12]}{files_changed}" + (f", {new} new" if new else "") + " (snapshot)"


def _where_and_when(job: Job, reason: PendingReason | None) -> list[tuple[str, object]]:
    claim, spec, result = job.claim, job.spec, job.result
    cards = ", ".join(f"{ref.index} ({ref.uuid or 'no UUID'})" for ref in claim.gpus) if claim else ""
    asked = f"{spec.gpus}, none given yet" if spec and spec.gpus and not claim else None
    return [
        ("state", state_now(job).value),
        ("attempt", f"{job.attempt}, {job.again.text}" if job.again else None),
        ("waits", reason and reason.text),
        ("note", "this machine was restarted while it ran" if died_with_its_boot(job) else None),
        ("host", job.host and f"{job.host}" + (f" ({claim.host_kind})" if claim else "")),
        ("scope", claim and claim.scope),
        ("gpus", cards or asked or (0 if spec else None)),
        ("submitted", when(submitted_at(job))),
        ("claimed", when(claim.claimed_at if claim else None)),
        ("started", when(job.started_at)),
        ("ended", when(result.ended_at if result else None)),
    ]


def _training(paths: Paths, job: Job) -> str | None:
    """Where its trainer says it is, e.g. "step 131 of 4000, epoch 0.3, loss 3.21 (1s ago)"; None: it has none."""
    status = training_status(paths, job.job_id)
    if status is None or status["global_step"] is None:
        return None
    of = f" of {status['max_steps']}" if status["max_steps"] else ""
    numbers = {"epoch": status["epoch"], **(status["metrics"] if isinstance(status["metrics"], dict) else {})}
    words = [f"{name} {value:.4g}" for name, value in numbers.items() if isinstance(value, (int, float))]
    told_at = parse_at(str(status["updated_at"]))
    told = ", ".join([f"step {status['global_step']}{of}", *words])
    return f"{told} ({ago(told_at, datetime.now(UTC))})"


def _how_it_went(paths: Paths, job: Job) -> list[tuple[str, object]]:
    if job.result is None:
        written = written_bytes(paths.output(job.job_id, job.attempt))
        return [("output", None if written is None else f"{written:,} bytes so far")]
    told = job.result.document
    lost, omitted = told.get("output_lost_bytes"), told.get("output_omitted_bytes")
    return [
        ("outcome", describe(job.result.outcome)),
        ("took", took(job)),
        ("cpu", _with_unit(told.get("cpu_s"), "s", 2)),
        ("peak memory", _size(told.get("peak_memory_bytes"))),
        ("output", _with_unit(told.get("output_bytes"), "bytes", 0)),
        ("left out", f"{omitted:,} bytes between head and tail" if isinstance(omitted, int) and omitted else None),
        ("output lost", f"{lost:,} bytes, the disk was full" if isinstance(lost, int) and lost else None),
        *[("step", step) for step in steps(job)],
        *_told(paths, job),
    ]


def _told(paths: Paths, job: Job) -> list[tuple[str, object]]:
    """Who was told of its end, and who was not and why."""
    return [
        ("told", one["target"]) if one["problem"] is None else ("not told", f"{one['target']}: {one['problem']}")
        for one in told(paths, job.job_id)
    ]


def _where_to_look(paths: Paths, job: Job) -> list[tuple[str, object]]:
    log = paths.output(job.job_id, job.attempt)
    in_journal = job.claim is not None and job.claim.host_kind == "systemd"
    dropped = job.result.document.get("journal_dropped_lines") if job.result and in_journal else None
    return [
        ("log", log if os.path.lexists(log) else None),
        ("journal", f"journalctl --user -t {job.job_id}" if in_journal else None),
        ("not in it", f"{dropped:,} lines; the log has all" if isinstance(dropped, int) and dropped else None),
    ]


def _earlier_attempts(spool: Spool, job: Job) -> list[tuple[str, object]]:
    """A line for each attempt before the current one: how it ended, and its log."""
    if job.attempt == FIRST_ATTEMPT:
        return []
    earlier = [seen for seen in attempts_of(spool, job.job_id) if seen.attempt < job.attempt]
    return [(f"attempt {seen.attempt}", _attempt_line(seen)) for seen in earlier]


def _attempt_line(seen: AttemptSeen) -> str:
    if seen.result is None:
        ended = seen.problem or "how it ended is not known"
    else:
        time_taken = took(seen)
        ended = describe(seen.result.outcome) + (f" after {time_taken}" if time_taken else "")
    return f"{ended}; log {seen.output_path}" if os.path.lexists(seen.output_path) else ended


def took(ended: Job | AttemptSeen) -> str | None:
    """From the command's start to its end; None when it never started."""
    if ended.result is None or ended.result.started_at is None:
        return None
    return span((ended.result.ended_at - ended.result.started_at).total_seconds())


def steps(job: Job) -> list[str]:
    """How it was stopped, a line each, e.g. "03:40:12 TERM to the scope"."""
    told = job.result.document.get("steps") if job.result else None
    lines = []
    for step in told if isinstance(told, list) else []:
        lines.append(f"{local(parse_at(str(step.get('at')))):%H:%M:%S} {step.get('did')}")
    return lines


def masked(spec: Document) -> Document:
    """The spec with the values of variables that look like secrets hidden."""
    env = spec.get("env")
    if not isinstance(env, dict):
        return spec
    hidden = {name: MASK if any(word in name.upper() for word in SECRET_WORDS) else v for name, v in env.items()}
    return {**spec, "env": hidden}


def spec_text(spec: Document) -> str:
    """As indented JSON; letters stay letters, what could move a cursor is escaped as JSON escapes it."""
    text = json.dumps(spec, indent=2, ensure_ascii=False)
    return "\n".join(shown(line) for line in text.split("\n"))


def for_terminal(data: bytes) -> str:
    """A file's bytes with line ends kept and everything else that could act on a terminal escaped."""
    return "\n".join(shown(line) for line in data.decode("utf-8", "backslashreplace").split("\n"))


def raw_files(paths: Paths, job: Job) -> list[tuple[str, bytes]]:
    """Each file of the job with what it holds, damaged or not."""
    numbers = attempts.numbers(paths, job.job_id) if is_job_id(job.job_id) else []
    candidates = [job.place.path, *(path for number in numbers for path in _files_of(paths, job.job_id, number))]
    candidates += [paths.told(job.job_id, number) for number in range(len(told(paths, job.job_id)))]
    found = []
    for path in candidates:
        try:
            found.append((path, files.read_bytes(path)))
        except FileNotFoundError:
            continue
        except UnreadableFile as error:
            found.append((path, f"({error})\n".encode("utf-8", "backslashreplace")))
    return found


def _files_of(paths: Paths, job_id: str, attempt: int) -> list[str]:
    return [
        paths.again(job_id, attempt),
        paths.claim(job_id, attempt),
        paths.started(job_id, attempt),
        paths.process(job_id, attempt),
        paths.stop_request(job_id, attempt, force=False),
        paths.stop_request(job_id, attempt, force=True),
        paths.result(job_id, attempt),
    ]


def when(at: datetime | None) -> str | None:
    return None if at is None else f"{at_text(at)} ({ago(at, datetime.now(UTC))})"


def _size(value: object) -> str | None:
    return size_text(value) if isinstance(value, int) else None


def _with_unit(value: object, unit: str, digits: int) -> str | None:
    return f"{value:,.{digits}f} {unit}" if isinstance(value, (int, float)) else None
