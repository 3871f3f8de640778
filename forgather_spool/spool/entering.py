"""What of a spec its table cannot check, asked for where it enters: times, ids and words that mean something.

A spec that waits already may be what it is: whoever reads it knows what to make
of it. Here its author can still be told.
"""

from __future__ import annotations

from forgather_spool.again import is_cause
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument
from forgather_spool.job import parse_at
from forgather_spool.spool.names import is_job_id

MAX_SHOWN = 80


def check_words(spec: Document) -> None:
    """Of a spec that `schema.check` has passed.

    Raises:
        BadDocument: `begin_at` is no time, `after` names something else than ids, `retry_on` holds another word.
    """
    begin_at, after, retry_on = spec.get("begin_at"), spec.get("after"), spec.get("retry_on")
    if isinstance(begin_at, str):
        parse_at(begin_at, "$.begin_at")
    for i, wish in enumerate(after if isinstance(after, list) else []):
        if not is_job_id(wish["job"]):
            hint = "names are understood by: forgather submit --after"
            raise BadDocument(f"$.after[{i}].job", f"{wish['job']!r} is no id of a job", hint=hint)
    for i, word in enumerate(retry_on if isinstance(retry_on, list) else []):
        if not is_cause(word):
            hint = "exit codes 1 to 255, signals, oom, timeout"
            raise BadDocument(f"$.retry_on[{i}]", f"{word[:MAX_SHOWN]!r} is no way to fail", hint=hint)
