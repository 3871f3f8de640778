"""What stands in each document: names, types, limits and defaults, said once.

These tables check documents, give the defaults of a spec, and are what
`docs/reference/schema/` is generated from. Unknown keys are an error where a
document enters (``unknown="refuse"``) and are kept where one is read back, so
that an older program reads what a newer one wrote.

No dataclasses and no `re`: `forgather submit` pays for every import here.
"""

from __future__ import annotations

from forgather_spool.document import Document, kind_of
from forgather_spool.errors import BadDocument

REQUIRED = object()
VERSION = 1
MAX_ARGV_BYTES = 128 * 1024  # one argument the kernel accepts: MAX_ARG_STRLEN in execve(2)
PRIORITY_LIMIT = 1_000_000
MAX_SAFE_INTEGER = 2**53 - 1  # every JSON reader agrees up to here (RFC 8259, section 6)


class Field:
    """One key: its kind, what it is when absent, and its limits (both ends included).

    kind: string, integer, number, boolean, strings (a list), string_map, object, objects (a list).
    `default` REQUIRED means the key must stand; None also allows null.
    """

    __slots__ = ("choices", "default", "fields", "help", "kind", "maximum", "minimum")

    def __init__(
        self,
        kind: str,
        default: object = REQUIRED,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        choices: tuple[str, ...] = (),
        fields: dict[str, Field] | None = None,
        help: str = "",
    ) -> None:
        self.kind = kind
        self.default = default
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.fields = fields
        self.help = help


def check(document: Document, fields: dict[str, Field], *, where: str = "$", unknown: str = "keep") -> Document:
    """`document` with defaults filled in; the first thing wrong raises BadDocument with its path.

    `unknown` is "refuse" or "keep".
    """
    if unknown == "refuse":
        for key in document:
            if key not in fields:
                raise BadDocument(f"{where}.{key}", "no such field", hint=f"known fields: {', '.join(sorted(fields))}")
    checked = dict(document)
    for name, field in fields.items():
        if name in document:
            _check_value(f"{where}.{name}", document[name], field, unknown)
        elif field.default is REQUIRED:
            raise BadDocument(f"{where}.{name}", "is required")
        else:
            default = field.default
            checked[name] = dict(default) if isinstance(default, dict) else default
    return checked


def _check_value(where: str, value: object, field: Field, unknown: str) -> None:
    if value is None and field.default is None:
        return
    _CHECKS[field.kind](where, value, field)
    if field.fields is not None and isinstance(value, dict):
        check(value, field.fields, where=where, unknown=unknown)
    if field.fields is not None and isinstance(value, list):
        for i, item in enumerate(value):
            check(item, field.fields, where=f"{where}[{i}]", unknown=unknown)


def _wrong(where: str, wanted: str, value: object) -> BadDocument:
    return BadDocument(where, f"expected {wanted}, got {kind_of(value)}")


def _string(where: str, value: object, field: Field) -> None:
    if not isinstance(value, str):
        raise _wrong(where, "string", value)
    if field.choices and value not in field.choices:
        raise BadDocument(where, f"{value!r} is not one of {', '.join(field.choices)}")
    if field.maximum is not None and len(value.encode()) > field.maximum:
        raise BadDocument(where, f"longer than {int(field.maximum)} bytes")


def _number(where: str, value: object, field: Field) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(where, "number", value)
    _in_range(where, value, field)


def _whole(where: str, value: object, field: Field) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(where, "integer", value)
    _in_range(where, value, field)


def _in_range(where: str, value: float, field: Field) -> None:
    if field.minimum is not None and value < field.minimum:
        raise BadDocument(where, f"{value} is less than {_plain(field.minimum)}")
    if field.maximum is not None and value > field.maximum:
        raise BadDocument(where, f"{value} is more than {_plain(field.maximum)}")


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _boolean(where: str, value: object, field: Field) -> None:
    if not isinstance(value, bool):
        raise _wrong(where, "boolean", value)


def _strings(where: str, value: object, field: Field) -> None:
    if not isinstance(value, (list, tuple)):
        raise _wrong(where, "array of strings", value)
    if field.minimum is not None and len(value) < field.minimum:
        raise BadDocument(where, "must not be empty")
    for i, item in enumerate(value):
        if not isinstance(item, str):
            raise _wrong(f"{where}[{i}]", "string", item)
        if len(item.encode()) >= MAX_ARGV_BYTES:
            raise BadDocument(f"{where}[{i}]", f"longer than {MAX_ARGV_BYTES - 1} bytes, which no kernel can start")


def _string_map(where: str, value: object, field: Field) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, "object of strings", value)
    for key, item in value.items():
        if not isinstance(item, str):
            raise _wrong(f"{where}.{key}", "string", item)
        if not key or "=" in key:
            raise BadDocument(f"{where}.{key}", "is no name for an environment variable")


def _object(where: str, value: object, field: Field) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, "object", value)


def _objects(where: str, value: object, field: Field) -> None:
    if not isinstance(value, list):
        raise _wrong(where, "array of objects", value)
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise _wrong(f"{where}[{i}]", "object", item)


_CHECKS = {
    "string": _string,
    "integer": _whole,
    "number": _number,
    "boolean": _boolean,
    "strings": _strings,
    "string_map": _string_map,
    "object": _object,
    "objects": _objects,
}

_VERSION = Field("integer", VERSION, minimum=1, maximum=VERSION, help="the format's version")
_ARGV0 = "the command and its arguments; the first is looked up in PATH"

SPEC: dict[str, Field] = {
    "version": _VERSION,
    "argv": Field("strings", minimum=1, help=_ARGV0),
    "cwd": Field("string", None, help="the directory it runs in; absent: the home directory"),
    "env": Field("string_map", {}, help="variables set for the job, over the host's own few"),
    "name": Field("string", None, maximum=200, help="for people; need not be unique"),
    "gpus": Field("integer", 0, minimum=0, maximum=1024, help="how many cards; 0 runs without any"),
    "gpu_memory_bytes": Field(
        "integer", None, minimum=1, maximum=MAX_SAFE_INTEGER, help="free memory each card must have"
    ),
    "priority": Field("integer", 0, minimum=-PRIORITY_LIMIT, maximum=PRIORITY_LIMIT, help="higher starts first"),
    "time_limit_s": Field("number", None, minimum=0.001, maximum=10 * 365 * 86400, help="stopped after this long"),
    "memory_bytes": Field("integer", None, minimum=1 << 20, maximum=MAX_SAFE_INTEGER, help="at most this much memory"),
    "cpus": Field("number", None, minimum=0.01, maximum=100_000, help="at most this much CPU time per second"),
    "tty": Field("boolean", False, help="give the job a terminal (pty) instead of a pipe"),
    "grace_s": Field("number", 10.0, minimum=0, maximum=86400, help="between TERM and KILL when it is stopped"),
    "type": Field("string", "command", maximum=64, help="the verb that made it"),
    "job_params": Field("object", {}, help="what that verb keeps with it"),
    "script": Field("string", None, help="text of a script, beginning with #!; it is run in place of argv[0]"),
    "rerun_of": Field("string", None, maximum=64, help="the job this one repeats"),
    "git_commit": Field("string", None, maximum=64, help="the commit that lay in cwd at submit"),
}

_GPU_REFS = Field(
    "objects", fields={"index": Field("integer", minimum=0), "uuid": Field("string", None)}, help="the cards it holds"
)
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
    "journal_dropped_lines": Field("integer", 0, help="lines kept in output.log and not copied to the journal"),
    "steps": Field("objects", [], fields={"at": Field("string"), "did": Field("string")}, help="how it was stopped"),
}

STOP_REQUEST: dict[str, Field] = {
    "version": _VERSION,
    "force": Field("boolean", False, help="KILL at once, no grace"),
    "grace_s": Field("number", None, minimum=0, maximum=86400),
    "by": Field("string"),
    "requested_at": Field("string", help=_AT_HELP),
}

GPU_POLICY_CARD: dict[str, Field] = {
    "disabled": Field("boolean", False),
    "min_priority": Field("integer", 0, minimum=-PRIORITY_LIMIT, maximum=PRIORITY_LIMIT),
}
GPU_POLICY: dict[str, Field] = {
    "version": _VERSION,
    "gpus": Field("object", {}, help="card index or UUID to its policy"),
    "ignore_foreign_processes": Field("boolean", False, help="cards others compute on count as free"),
}

DISPATCH: dict[str, Field] = {
    "version": _VERSION,
    "paused": Field("boolean", False),
    "paused_at": Field("string", None, help=_AT_HELP),
    "no_gpu_limit": Field("integer", None, minimum=1, maximum=100_000, help="jobs without a card that run at once"),
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
    "stop": STOP_REQUEST,
    "gpu_policy": GPU_POLICY,
    "dispatch": DISPATCH,
    "host": HOST,
}
