"""What is given to `forgather submit`, as a spec; and what every command that submits says and does of it.

Light: everything here is paid for by each submit of a script's thousand.
"""

from __future__ import annotations

import os
import sys

from forgather_spool import schema
from forgather_spool.cli import warn
from forgather_spool.cli.submit import environment
from forgather_spool.cli.submit.git_commit import git_commit
from forgather_spool.cli.submit.options import OPTIONS, ORDER_FIELDS, Given, fields
from forgather_spool.document import MAX_DOCUMENT_BYTES, Document, dump
from forgather_spool.errors import BadDocument, ForgatherError, StorageFailed, UsageError
from forgather_spool.host import user_manager
from forgather_spool.spool.entrance import Entrance
from forgather_spool.spool.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from forgather_spool.cli.submit.snapshots import Snapshots


def snapshots_for(spool: Entrance, given: Given) -> Snapshots:
    """What adds them, as these options have it; imported when one is asked for."""
    from forgather_spool.cli.submit.snapshots import Snapshots
    from forgather_spool.spool.queue import Spool

    return Snapshots(Spool(spool.paths.home), keep="keep-worktree" in given, quiet="quiet" in given)


def answer(text: str, what: str) -> None:
    """`text` to stdout. Raises StorageFailed: `what` cannot be written there."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"{what} cannot be written to stdout: {error.strerror}"
        raise StorageFailed(message, hint="do not submit it again; forgather sched list shows it") from None


def entered(job_id: str, spec: Document) -> str:
    """The line that a job was submitted, for every command that does."""
    where = "held" if spec.get("hold") else "queued"
    members = f"{spec['members']} job{'s'[: spec['members'] != 1]}, " if "members" in spec else ""
    return f"{where}: {job_id} ({members}priority={spec.get('priority', 0)}, gpus={spec.get('gpus', 0)})"


def wake_up(paths: Paths, *, quiet: bool) -> None:
    """Have a dispatcher look. Cannot fail: what is queued stays queued, so it is only said."""
    from forgather_spool.dispatcher.wake import wake

    try:
        wake(paths)
    except ForgatherError as error:
        if not quiet:
            warn(f"the job is queued, but no dispatcher could be woken: {error}")


def spec_of(given: Given, words: list[str], environ: Mapping[str, str], spool: Entrance) -> tuple[Document, list[str]]:
    """The checked spec, and remarks for the user."""
    document: Document = {"version": schema.VERSION, "argv": words, **fields(given)}
    if "script" in given:
        from forgather_spool.cli.submit import script_text

        script_text.add_to(document, str(given["script"]), words)
    remarks = add_surroundings(document, given, environ)
    check_together(document, spool)
    _check(document)
    return document, [*remarks, *_remarks(document, environ)]


def options_alone(given: Given, spool: Entrance) -> Document:
    """What the options say, checked: for many jobs that say the rest themselves. Raises UsageError."""
    document: Document = {"version": schema.VERSION, "argv": ["true"], **fields(given)}
    check_after(document, spool)
    _check(document)
    del document["argv"]
    return document


def refuse_too_many_gpus(spec: Document, paths: Paths, option: str = "--gpus") -> list[str]:
    """As `known_cards.refuse_too_many`; a job without cards pays nothing for it."""
    if not spec.get("gpus"):
        return []
    from forgather_spool.cli.submit import known_cards

    return known_cards.refuse_too_many(spec, paths, option)


def add_surroundings(document: Document, given: Given, environ: Mapping[str, str]) -> list[str]:
    """Add the directory, the environment and the commit it is submitted from; remarks for the user."""
    cwd = _directory(given.get("cwd"))
    document["cwd"] = cwd
    env, remarks = _env(given, environ)
    document["env"] = env
    commit = git_commit(cwd)
    if commit is not None:
        document["git_commit"] = commit
    return remarks


def check_together(document: Document, spool: Entrance) -> None:
    """Refuse what means nothing together, and put ids where jobs are named. Raises UsageError."""
    if not ORDER_FIELDS.isdisjoint(document):
        from forgather_spool.cli.submit import order_checks

        order_checks.refuse_contradictions(document)
        check_after(document, spool)


def check_after(document: Document, spool: Entrance) -> None:
    """Put ids where jobs are named. Raises UsageError: one is none."""
    if "after" in document:
        from forgather_spool.cli.submit import order_checks
        from forgather_spool.spool.queue import Spool

        order_checks.resolve_after(Spool(spool.paths.home), document)


def _check(document: Document) -> None:
    """Against the table of specs, in the words of the command line.

    Raises:
        UsageError: what the table refuses, or a whole that is too large.
    """
    argv = document["argv"]
    assert isinstance(argv, list)
    if not argv or not argv[0].strip():  # "$COMMAND" of a variable that is not set
        what = "no command given" if not argv else f"the command is the word {argv[0]!r}"
        raise UsageError(what, hint="forgather submit [OPTIONS] -- CMD [ARG]...")
    try:
        size_bytes = len(dump(document))  # first: the table takes for granted that text is text
        schema.check(document, schema.SPEC, unknown="refuse")
    except BadDocument as error:
        raise UsageError(f"{in_words(error.where)}: {error.problem}", hint=error.hint or _HINT) from None
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise UsageError(
            f"the job is {size_bytes} bytes, more than {MAX_DOCUMENT_BYTES}",
            hint="put the data into a file and pass its name",
        )


_HINT = "forgather submit --help"
LINGER_REMARK = "jobs die 10 s after your last logout; to let them go on: loginctl enable-linger"


def in_words(where: str) -> str:
    """``$.gpu_memory_bytes`` is ``--gpu-memory``, ``$.argv[1]`` is the command's argument 1."""
    field = where.removeprefix("$.").partition(".")[0].partition("[")[0]
    for option in OPTIONS:
        if option.field == field:
            return f"--{option.name}"
    if field == "argv":
        return f"argument {where.partition('[')[2].rstrip(']')} of the command"
    return {"cwd": "the directory", "script": "--script"}.get(field, where)


# -- what goes with it ------------------------------------------------------------------------------------------------


def _directory(given: object) -> str:
    """Absolute, links in it kept. Raises UsageError: it is not there."""
    try:
        path = os.path.abspath(os.path.expanduser(str(given))) if given is not None else os.getcwd()
        is_directory = os.path.isdir(path)
    except FileNotFoundError:
        raise UsageError("the current directory has been removed", hint="cd to another, or give --cwd DIR") from None
    if not is_directory:
        raise UsageError(f"--cwd {given}: no such directory", hint="make it first; the job starts in it")
    return path


def _env(given: Given, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What is chosen from here, then the files, then --env: later ones win."""
    env, withheld = environment.chosen(environ)
    explicit: dict[str, str] = {}
    for path in _texts(given.get("env-file")):
        explicit |= environment.from_file(path, environ)
    explicit |= environment.asked(_texts(given.get("env")), environ)
    remarks = environment.not_recorded([name for name in withheld if name not in explicit], environ)
    return env | explicit, remarks


def _texts(value: object) -> list[str]:
    return value if isinstance(value, list) else []


# -- what the user should know ----------------------------------------------------------------------------------------


def _remarks(spec: Document, environ: Mapping[str, str]) -> list[str]:
    found = []
    argv, env = spec["argv"], spec["env"]
    assert isinstance(argv, list) and isinstance(env, dict)
    if "script" not in spec and not _is_found(argv[0], env.get("PATH", os.defpath), str(spec["cwd"])):
        found.append(f"{argv[0]}: no such command yet; the job fails unless it is there when it starts")
    if "gpu_memory_bytes" in spec and not spec.get("gpus"):
        found.append("--gpu-memory asks for no card; that is --gpus N, and 0 when not given")
    if "memory_bytes" in spec or "cpus" in spec:
        found += _not_enforced(spec, environ)
    secret = environment.secret_in(argv)
    if secret is not None:
        found.append(
            f"{secret} looks like a secret: arguments are visible to other users in /proc and stay in the journal; "
            "--env NAME keeps it in a file only you can read"
        )
    if ends_with_the_login(environ):
        found.append(LINGER_REMARK)
    return found


def _not_enforced(spec: Document, environ: Mapping[str, str]) -> list[str]:
    """Said at submit: a limit that does nothing is found out when the machine is out of memory."""
    asked = (("memory_bytes", "memory", "--memory"), ("cpus", "cpu", "--cpus"))
    lacking = [option for field, name, option in asked if field in spec and user_manager.lacks(name, environ)]
    if not lacking:
        return []
    verb = "is" if len(lacking) == 1 else "are"
    return [f"{' and '.join(lacking)} {verb} accepted, and not enforced on this machine; forgather doctor says why"]


def _is_found(command: str, search_path: str, cwd: str) -> bool:
    if "/" in command:
        return _is_program(os.path.join(cwd, command))
    return any(_is_program(os.path.join(cwd, folder, command)) for folder in search_path.split(":"))


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and not os.path.isdir(path)


def ends_with_the_login(environ: Mapping[str, str]) -> bool:
    if environ.get("FORGATHER_HOST_KIND") == "process":
        return False
    return user_manager.is_there(environ) and not user_manager.lingers(environ)
