"""What is still to be told: one empty file a job in ``spool/notices/``, made before the job is done.

    running/  result  notices/  notified-<n>  done/    who goes on
       +         +       -           -         -       whoever finishes it (mark, then spec to done/)
       +         +       +           -         -       whoever finishes it (spec to done/)
       -         +       +           -         +       a dispatcher (starts `forgather_spool.notify`)
       -         +       +         some        +       the same: those that have one are not told again
       -         +       +          all        +       the same: removes the mark
       -         +       -          all        +       nobody

So each is told at least once, and twice only when the teller is killed between
the receiver's yes and our note of it. A job that wants nobody told costs the
reading of one small file or two and leaves nothing.

Light: the runner takes these steps.
"""

from __future__ import annotations

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.spool import attempts, files
from forgather_spool.spool.paths import CANCEL, Paths

NOBODY = "none"  # a job that says so is told of to nobody, whatever dispatch.json says

Notice = tuple[str, str]  # job id, and the host in whose running/ it ended or `CANCEL`


def owe(paths: Paths, spec_path: str, job_id: str, host: str, spec: Document | None = None) -> None:
    """Note that the end of this job is to be told, if it is. Its result stands. Durable on return.

    `spec` is what lies at `spec_path`, for who has read it already.

    Raises:
        StorageFailed: it could not be noted; the job must not be moved to done/ yet.
    """
    try:
        spec = files.read_document(spec_path) if spec is None else spec
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return  # somebody else finished it; or nobody can say whom it wanted told
    targets, when = whom_to_tell(spec, _defaults(paths))
    if not targets or (when == "failure" and not _is_failure(paths, job_id)):
        return
    try:
        files.mark(paths.notice(job_id, host))
    except FileNotFoundError:
        files.make_directory(paths.notices)  # the first ever
        files.mark(paths.notice(job_id, host))


def whom_to_tell(spec: Document, dispatch: Document) -> tuple[list[str], str]:
    """The targets and when: the job's own, else those of ``dispatch.json``. Reads damaged values as none."""
    chosen = spec if spec.get("notify") else dispatch
    targets, when = chosen.get("notify"), chosen.get("notify_on")
    named = [target for target in targets if isinstance(target, str)] if isinstance(targets, list) else []
    return ([] if NOBODY in named else named), str(when or "end")


def pending(paths: Paths, host: str) -> list[Notice]:
    """What `host` has to tell, oldest job first. A cancelled job's may be told by any host."""
    found = []
    for name in files.names(paths.notices):
        job_id, _, of_host = name.partition(".")
        if of_host in (host, CANCEL):
            found.append((job_id, of_host))
    return sorted(found)


def note_told(paths: Paths, job_id: str, target: int, document: Document) -> None:
    """Write down how telling the `target`-th went. Somebody else having done it is fine; so is a removed job."""
    if not files.exists(paths.job(job_id)):
        return
    try:
        files.write_once(paths.told(job_id, target), document, paths.tmp)
    except FileExistsError:
        pass


def told(paths: Paths, job_id: str) -> list[Document]:
    """How each telling went, as far as it is known. What cannot be read says so in `problem`."""
    found: list[Document] = []
    for name in sorted(files.names(paths.job(job_id)), key=lambda name: (len(name), name)):
        if not name.startswith("notified-") or not name.endswith(".json"):
            continue
        try:
            found.append(schema.check(files.read_document(f"{paths.job(job_id)}/{name}"), schema.NOTIFIED))
        except FileNotFoundError:
            continue
        except (BadDocument, UnreadableFile) as error:
            found.append({"version": 1, "target": name, "problem": str(error), "tries": 0, "ended_at": None})
    return found


def settle(paths: Paths, notice: Notice) -> None:
    """Everybody has been told: remove the mark."""
    files.discard(paths.notice(*notice))


def _defaults(paths: Paths) -> Document:
    try:
        return files.read_document(paths.dispatch)
    except FileNotFoundError:
        return {}
    except (BadDocument, UnreadableFile):
        return {"notify": ["?"]}  # owed until somebody mends it: the teller reads it properly


def _is_failure(paths: Paths, job_id: str) -> bool:
    """Any end but exit code 0 and a cancel. One that nobody can read counts as one."""
    try:
        outcome = files.read_document(paths.result(job_id, attempts.current(paths, job_id))).get("outcome")
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return True
    if not isinstance(outcome, dict):
        return True
    kind = outcome.get("kind")
    return kind != "cancelled" and not (kind == "exited" and outcome.get("exit_code") == 0)
