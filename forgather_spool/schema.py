"""What stands in each document: names, types, limits and defaults, said once.

These tables check documents, give the defaults of a spec, and are what
`docs/reference/schema/` is generated from. Unknown keys are an error where a
document enters (``unknown="refuse"``) and are kept where one is read back, so
that an older program reads what a newer one wrote.

No dataclasses and no `re`: `forgather submit` pays for every import here.
"""

from __future__ import annotations

from forgather_spool.fields import Field
from forgather_spool.fields import check as check
from forgather_spool.fields import verify as verify

VERSION = 1
PRIORITY_LIMIT = 1_000_000
FIRST_YEAR, LAST_YEAR = 1970, 9000  # years may be added to such a time, and it be shown in any zone
MAX_TIME_LIMIT_S = 10 * 365 * 86400
MAX_SAFE_INTEGER = 2**53 - 1  # every JSON reader agrees up to here (RFC 8259, section 6)

_VERSION = Field("integer", VERSION, minimum=1, maximum=VERSION, help="the format's version")
_ARGV0 = "the command and its arguments; the first is looked up in PATH"

_AFTER = {
    "job": Field("string", maximum=64, help="its id"),
    "when": Field("string", "ok", choices=("ok", "any", "notok"), help="how it must have ended"),
}
_ARRAY = {
    "indexes": Field("string", maximum=65_536, help="such as 0-99 or 1,3,5-9:2"),
    "limit": Field("integer", None, minimum=1, help="how many members run at once"),
    "size": Field("integer", None, minimum=1, help="what FORGATHER_ARRAY_SIZE says; absent: how many members it has"),
}

SNAPSHOT: dict[str, Field] = {
    "ref": Field("string", maximum=200, help="keeps it alive in the repository"),
    "git_dir": Field("string", help="the repository"),
    "top": Field("string", help="the directory it was taken of"),
    "prefix": Field("string", "", help="where in it the job runs"),
    "commit": Field("string", maximum=64, help="what was checked out"),
    "state": Field("string", maximum=64, help="a commit of what lay there; `commit` itself if nothing had changed"),
    "changed": Field("integer", 0, minimum=0, help="files that git knew and that were not as in `commit`"),
    "untracked": Field("integer", 0, minimum=0, help="files that git did not know"),
    "keep": Field("boolean", False, help="its worktree stays until the job is removed"),
}

SPEC: dict[str, Field] = {
    "version": _VERSION,
    "argv": Field("strings", minimum=1, help=_ARGV0),
    "cwd": Field("string", None, absolute=True, help="the directory it runs in, absolute; absent: the home directory"),
    "env": Field("string_map", {}, help="variables set for the job, over the host's own few"),
    "name": Field("string", None, maximum=200, help="for people; need not be unique"),
    "gpus": Field("integer", 0, minimum=0, maximum=1024, help="how many cards; 0 runs without any"),
    "gpu_memory_bytes": Field(
        "integer", None, minimum=1, maximum=MAX_SAFE_INTEGER, help="free memory each card must have"
    ),
    "priority": Field("integer", 0, minimum=-PRIORITY_LIMIT, maximum=PRIORITY_LIMIT, help="higher starts first"),
    "time_limit_s": Field("number", None, minimum=0.001, maximum=MAX_TIME_LIMIT_S, help="stopped after this long"),
    "memory_bytes": Field("integer", None, minimum=1 << 20, maximum=MAX_SAFE_INTEGER, help="at most this much memory"),
    "cpus": Field("number", None, minimum=0.01, maximum=100_000, help="at most this much CPU time per second"),
    "tty": Field("boolean", False, help="give the job a terminal (pty) instead of a pipe"),
    "grace_s": Field("number", 10.0, minimum=0, maximum=86400, help="between TERM and KILL when it is stopped"),
    "type": Field("string", "command", maximum=64, help="the verb that made it"),
    "job_params": Field("object", {}, help="what that verb keeps with it"),
    "script": Field("string", None, help="text of a script, beginning with #!; it is run in place of argv[0]"),
    "rerun_of": Field("string", None, maximum=64, help="the job this one repeats"),
    "git_commit": Field("string", None, maximum=64, help="the commit that lay in cwd at submit"),
    "group": Field(
        "string", None, maximum=64, says_something=True, help="its group; groups have limits and can be paused"
    ),
    "hold": Field("boolean", False, help="enters held/ instead of queue/, until released"),
    "begin_at": Field("string", None, maximum=64, help="does not start before; RFC 3339"),
    "after": Field("objects", [], fields=_AFTER, help="jobs that must have ended first"),
    "after_unmet": Field(
        "string", "end", choices=("end", "hold", "run"), help="what becomes of it when `after` can never be met"
    ),
    "array": Field("object", None, fields=_ARRAY, help="one spec, many members; each knows FORGATHER_ARRAY_INDEX"),
    "retries": Field("integer", 0, minimum=0, maximum=1000, help="how often it is run again after a failure"),
    "retry_on": Field(
        "strings", [], help="exit codes, `signals`, `oom`, `timeout`; empty: any failure but a cancel or a refusal"
    ),
    "retry_delay_s": Field("number", 10.0, minimum=0, maximum=86400, help="before the first retry; doubles each time"),
    "requeue": Field("boolean", False, help="run again when it was lost: a reboot, or its runner was killed"),
    "preemptible": Field("boolean", False, help="gives its cards to a job of higher priority, and runs again later"),
    "shared": Field("boolean", False, help="shares its cards with others that do; gpu_memory_bytes is its share"),
    "jobs_per_gpu": Field(
        "integer", None, minimum=1, maximum=1024, help="shares each card with at most this many, itself included"
    ),
    "unique": Field(
        "string", None, maximum=200, says_something=True, help="refused while another with this key waits or runs"
    ),
    "snapshot": Field(
        "object", None, fields=SNAPSHOT, help="the commit and the changes it runs from; see `submit --snapshot`"
    ),
    "notify": Field("strings", [], help="who is told of its end: command:..., mail:..., http(s)://..., desktop; none"),
    "notify_on": Field("string", "end", choices=("end", "failure"), help="failure: not of exit code 0 or a cancel"),
    "output_limit_bytes": Field(
        "integer", None, minimum=4096, maximum=MAX_SAFE_INTEGER, help="output.log keeps head and tail within this"
    ),
}

_GPU_REFS = Field(
    "objects", fields={"index": Field("integer", minimum=0), "uuid": Field("string", None)}, help="the cards it holds"
)
TERMS: dict[str, Field] = {
    "gpu_memory_bytes": Field("integer", None, help="what it may use on each card"),
    "shared": Field("boolean", False),
    "jobs_per_gpu": Field("integer", None),
    "preemptible": Field("boolean", False),
    "time_limit_s": Field("number", None, minimum=0, maximum=MAX_TIME_LIMIT_S),
    "grace_s": Field("number", 10.0, minimum=0, maximum=86400),
    "group": Field("string", None),
}
_RUNNER = {"pid": Field("integer", minimum=1), "start_ticks": Field("integer", minimum=0)}
_AT_HELP = "RFC 3339, UTC"

CLAIM: dict[str, Field] = {
    "version": _VERSION,
    "attempt": Field("integer", minimum=1),
    "host": Field("string"),
    "host_kind": Field("string", choices=("systemd", "process")),
    "boot_id": Field("string", help="tells a reboot from a crash; /proc/sys/kernel/random/boot_id"),
    "scope": Field("string", help="the unit's name, or the process group's, by attempt"),
    "priority": Field("integer"),
    "gpus": _GPU_REFS,
    "runner": Field("object", fields=_RUNNER, help="start_ticks: field 22 of /proc/PID/stat"),
    "claimed_at": Field("string", help=_AT_HELP),
    "terms": Field("object", {}, fields=TERMS, help="of its spec, what others who wait need to know"),
}

PROCESS: dict[str, Field] = {
    "version": _VERSION,
    "pid": Field("integer", minimum=1),
    "start_ticks": Field("integer", minimum=0),
    "started_at": Field("string", help=_AT_HELP),
}

OUTCOME: dict[str, Field] = {
    "kind": Field(
        "string",
        choices=("exited", "killed", "timed_out", "out_of_memory", "cancelled", "lost", "refused"),
    ),
    "exit_code": Field("integer", None, minimum=0, maximum=255, help="exited"),
    "signal": Field("integer", None, minimum=1, maximum=64, help="killed"),
    "limit_s": Field("number", None, help="timed_out"),
    "by": Field("string", None, help="cancelled: who asked"),
    "reason": Field("string", None, help="lost, refused: why, in a sentence"),
}

RESULT: dict[str, Field] = {
    "version": _VERSION,
    "attempt": Field("integer", 1, minimum=1),
    "outcome": Field("object", fields=OUTCOME),
    "started_at": Field("string", None, help=_AT_HELP),
    "ended_at": Field("string", help=_AT_HELP),
    "cpu_s": Field("number", None),
    "peak_memory_bytes": Field("integer", None),
    "output_bytes": Field("integer", None, help="what the job wrote"),
    "output_lost_bytes": Field("integer", 0, help="of these, what output.log could not take (disk full)"),
    "output_omitted_bytes": Field("integer", 0, help="of these, what was left out to keep within output_limit_bytes"),
    "journal_dropped_lines": Field("integer", 0, help="lines kept in output.log and not copied to the journal"),
    "steps": Field("objects", [], fields={"at": Field("string"), "did": Field("string")}, help="how it was stopped"),
}

AGAIN: dict[str, Field] = {
    "version": _VERSION,
    "reason": Field(
        "string",
        choices=("retry", "requeue", "preempted"),
        help="retry: it failed; requeue: it was lost; preempted: it gave its cards away",
    ),
    "retries": Field("integer", 0, minimum=0, help="how many retries there were until now, this one included"),
    "requeues": Field("integer", 0, minimum=0, help="how often it was run again because it was lost, this included"),
    "not_before_at": Field("string", None, help=f"the back-off; {_AT_HELP}"),
    "after_outcome": Field("object", fields=OUTCOME, help="how the attempt before ended"),
    "gave_way_to": Field("string", None, help="preempted: the job that got its cards"),
}

PREEMPT: dict[str, Field] = {
    "version": _VERSION,
    "for_job": Field("string", help="the job of a higher priority that gets its cards"),
    "at": Field("string", help=_AT_HELP),
    "by": Field("string", help="as the requests that follow from it, and the result, name who asked"),
}

STOP_REQUEST: dict[str, Field] = {
    "version": _VERSION,
    "force": Field("boolean", False, help="KILL at once, no grace"),
    "grace_s": Field("number", None, minimum=0, maximum=86400),
    "by": Field("string"),
    "requested_at": Field("string", help=_AT_HELP),
}

NOTIFIED: dict[str, Field] = {
    "version": _VERSION,
    "target": Field("string", help="as in `notify`, without what may be secret in it"),
    "problem": Field("string", None, help="why it was not told; null: it was"),
    "tries": Field("integer", 1, minimum=0),
    "ended_at": Field("string", help="when that was known; RFC 3339, UTC"),
}

GPU_POLICY_CARD: dict[str, Field] = {
    "disabled": Field("boolean", False),
    "min_priority": Field(
        "integer", None, minimum=-PRIORITY_LIMIT, maximum=PRIORITY_LIMIT, help="absent: any priority will do"
    ),
}
GPU_POLICY: dict[str, Field] = {
    "version": _VERSION,
    "gpus": Field("object", {}, help="card index or UUID to its policy"),
    "ignore_foreign_processes": Field("boolean", False, help="cards others compute on count as free"),
    "foreign_memory_bytes": Field(
        "integer",
        300 << 20,
        minimum=0,
        maximum=MAX_SAFE_INTEGER,
        help="a foreign process below this leaves a card free",
    ),
}

_OUTCOME_WORDS = "ok, failed, or a kind of outcome; empty: whatever the outcome"
RETENTION: dict[str, Field] = {
    "older_than_s": Field("number", None, minimum=0, help="what ended longer ago goes"),
    "keep": Field("integer", 0, minimum=0, maximum=MAX_SAFE_INTEGER, help="so many that ended last never go"),
    "max_bytes": Field("integer", None, minimum=0, maximum=MAX_SAFE_INTEGER, help="the oldest go beyond this"),
    "outcomes": Field("strings", [], help=_OUTCOME_WORDS),
}

GROUP: dict[str, Field] = {
    "limit": Field("integer", None, minimum=1, maximum=100_000, help="how many of its jobs run at once"),
    "paused": Field("boolean", False, help="none of its jobs starts"),
}

DISPATCH: dict[str, Field] = {
    "version": _VERSION,
    "paused": Field("boolean", False),
    "paused_at": Field("string", None, help=_AT_HELP),
    "no_gpu_limit": Field("integer", None, minimum=1, maximum=100_000, help="jobs without a card that run at once"),
    "notify": Field("strings", [], help="who is told of the end of jobs that name nobody themselves"),
    "notify_on": Field("string", "end", choices=("end", "failure"), help="when these are told"),
    "retention": Field("object", None, fields=RETENTION, help="which ended jobs an idle dispatcher removes"),
    "groups": Field("object", {}, help="a group's name to its settings"),
    "reserve_after_s": Field(
        "number",
        1800,
        nullable=True,
        minimum=0,
        maximum=MAX_TIME_LIMIT_S,
        help="how long a job waits for cards before they are kept for it; null: never",
    ),
}

HOST: dict[str, Field] = {
    "version": _VERSION,
    "host": Field("string"),
    "kind": Field("string", choices=("systemd", "process")),
    "boot_id": Field("string"),
    "gpus": Field("objects", []),
    "last_seen_at": Field("string", help=_AT_HELP),
    "dispatcher_pid": Field("integer", None),
}

DOCUMENTS = {
    "spec": SPEC,
    "claim": CLAIM,
    "process": PROCESS,
    "result": RESULT,
    "again": AGAIN,
    "preempt": PREEMPT,
    "stop": STOP_REQUEST,
    "notified": NOTIFIED,
    "gpu_policy": GPU_POLICY,
    "dispatch": DISPATCH,
    "host": HOST,
}
