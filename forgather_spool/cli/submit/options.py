"""The options of `forgather submit`, said once.

From this table come the fast parser below, the click command in
`command.py` (help, completion, the reference), and the values: whichever
parser split the words, `submit.py` makes of them what the table says.

Options end at ``--`` or at the first word that is no option; the rest is the
command, untouched.
"""

from __future__ import annotations

from forgather_spool.cli import quantities
from forgather_spool.errors import BadDocument, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from forgather_spool.document import Document

Given = dict[str, object]  # option name without dashes: its text, True for a flag, a list of texts where it repeats


class Option:
    """One ``--name``. `metavar` empty: a flag. `field`: the key of the spec that it sets, by way of `parse`.

    One that repeats and sets a field is a list there, which `parse` makes a part of.
    """

    __slots__ = ("field", "help", "metavar", "name", "parse", "repeats")

    def __init__(
        self,
        name: str,
        metavar: str,
        help: str,
        *,
        field: str = "",
        parse: Callable[[str], object] = str,
        repeats: bool = False,
    ) -> None:
        self.name = name
        self.metavar = metavar
        self.help = help
        self.field = field
        self.parse = parse
        self.repeats = repeats


def _by(name: str) -> Callable[[str], object]:
    """The function of that name in `order_words.py`, which is imported when there is something to parse."""

    def parse(text: str) -> object:
        from forgather_spool.cli.submit import order_words

        found: Callable[[str], object] = getattr(order_words, name)
        return found(text)

    return parse


_SIZE = f"e.g. {quantities.SIZE_FORMS}"
_DURATION = f"e.g. {quantities.DURATION_FORMS}"


def _array(text: str) -> object:
    from forgather_spool import array

    try:
        indexes, limit = array.with_limit(text)
    except BadDocument as error:
        raise UsageError(error.problem, hint=error.hint) from None
    return {"indexes": indexes} if limit is None else {"indexes": indexes, "limit": limit}


OPTIONS = (
    Option("name", "NAME", "For people; need not be unique.", field="name"),
    Option("priority", "N", "Higher starts first. [default: 0]", field="priority", parse=quantities.whole_number),
    Option("gpus", "N", "How many cards. [default: 0]", field="gpus", parse=quantities.whole_number),
    Option(
        "gpu-memory", "SIZE", f"Free memory each card must have, {_SIZE}.", field="gpu_memory_bytes",
        parse=quantities.size_bytes,
    ),
    Option("time", "D", f"Stop it after this long, {_DURATION}.", field="time_limit_s", parse=quantities.time_limit_s),
    Option("memory", "SIZE", f"At most this much memory, {_SIZE}.", field="memory_bytes", parse=quantities.size_bytes),
    Option("cpus", "N", "At most this many CPUs' worth of time.", field="cpus", parse=quantities.decimal_number),
    Option("grace", "D", "Between TERM and KILL when it is stopped. [default: 10s]", field="grace_s",
           parse=quantities.duration_s),
    Option("group", "NAME", "Its group; see `forgather sched group`.", field="group"),
    Option("begin", "WHEN", "Not before, e.g. now+2h, 22:00, tomorrow 8:00 or 2026-11-22 08:00.", field="begin_at",
           parse=_by("begin_at")),
    Option("hold", "", "Keep it from starting until `forgather sched release`.", field="hold"),
    Option("after", "JOB[:HOW][,...]", "When that job ended ok, any (how) or notok; id or name. [default: ok]",
           field="after", parse=_by("after"), repeats=True),
    Option("after-unmet", "end|hold|run", "What becomes of it when --after can never be met. [default: end]",
           field="after_unmet"),
    Option("unique", "KEY", "Only if no other job with this key waits or runs; else exit code 75.", field="unique"),
    Option("retries", "N", "Run it again so often when it fails. [default: 0]", field="retries",
           parse=quantities.whole_number),
    Option("retry-on", "WHAT[,...]", "Only then: exit codes, signals, oom, timeout. [default: any failure]",
           field="retry_on", parse=_by("retry_on"), repeats=True),
    Option("retry-delay", "D", "Before the first retry; doubles each time. [default: 10s]", field="retry_delay_s",
           parse=quantities.duration_s),
    Option("requeue", "", "Run it again when a reboot or a crash took it.", field="requeue"),
    Option("preemptible", "", "Give way to jobs of higher priority, and run again later.", field="preemptible"),
    Option("shared", "", "Share its cards with others that do; --gpu-memory is its share.", field="shared"),
    Option("jobs-per-gpu", "N", "Share each card with others, N jobs in all.", field="jobs_per_gpu",
           parse=quantities.whole_number),
    Option("notify", "WHOM", "Tell of its end: command:CMD, mail:ADDRESS, https://..., desktop; may be repeated.",
           field="notify", parse=_by("notify"), repeats=True),
    Option("notify-on", "end|failure", "When. [default: end]", field="notify_on"),
    Option("output-limit", "SIZE", f"Keep of its output head and tail within this, {_SIZE}.",
           field="output_limit_bytes", parse=quantities.size_bytes),
    Option("cwd", "DIR", "Where it runs. [default: here]"),
    Option("env", "K=V|NAME", "Set a variable, or copy NAME from here; may be repeated.", repeats=True),
    Option("env-file", "FILE", "Lines of K=V or NAME; --env wins.", repeats=True),
    Option("script", "FILE|-", "Submit a script, which begins with #!; - is stdin. CMD and ARGs are its arguments."),
    Option("batch", "FILE|-", "Submit a file of specs, one JSON object a line, all or none; - is stdin."),
    Option("array", "0-99%4", "Many members of one spec, here 100 of which 4 run at once.", field="array",
           parse=_array),
    Option("snapshot", "", "Run from the git commit and the changes as they are now, new files included."),
    Option("keep-worktree", "", "With --snapshot: keep where it ran until the job is removed."),
    Option("tty", "", "Give the job a terminal instead of a pipe.", field="tty"),
    Option("follow", "", "Stay: print its output as it comes, exit with its status. Ctrl-C leaves it running."),
    Option("json", "", "Print the job as JSON, with its job_id."),
    Option("dry-run", "", "Print the spec as JSON and submit nothing."),
    Option("quiet", "", "Print the job id alone and no remarks."),
)  # fmt: skip

# What `train --enqueue` and `job rerun` take as well.
FOR_ANY_JOB = (
    "group", "begin", "hold", "after", "after-unmet", "unique", "retries", "retry-on", "retry-delay", "requeue",
    "preemptible", "gpu-memory", "shared", "jobs-per-gpu", "notify", "notify-on", "output-limit",
)  # fmt: skip

FOR_A_NEW_JOB = (*FOR_ANY_JOB, "snapshot", "keep-worktree")  # not of a rerun, which has the files it had
OPTIONS_OF_A_RERUN = ("name", "priority", "gpus", "time", "memory", "cpus", "grace", "tty", *FOR_ANY_JOB)
ORDER_FIELDS = frozenset(option.field for option in OPTIONS if option.name in FOR_ANY_JOB)

_BY_FLAG = {f"--{option.name}": option for option in OPTIONS}


def split(words: list[str]) -> tuple[Given, list[str]] | None:
    """What the options were given, unparsed, and the command. None: something unusual, which click explains."""
    given: Given = {}
    i = 0
    while i < len(words):
        word = words[i]
        if word == "--":
            return given, words[i + 1 :]
        if len(word) < 2 or word[0] != "-":
            break
        flag, equals, value = word.partition("=")
        option = _BY_FLAG.get(flag)
        if option is None or (equals and not option.metavar):
            return None
        if option.metavar and not equals:
            i += 1
            if i == len(words):
                return None
            value = words[i]
        note(given, option, value)
        i += 1
    return given, words[i:]


def note(given: Given, option: Option, value: str) -> None:
    """Add one occurrence: the last wins, unless the option repeats."""
    if not option.metavar:
        given[option.name] = True
    elif option.repeats:
        earlier = given.get(option.name, [])
        assert isinstance(earlier, list)
        given[option.name] = [*earlier, value]
    else:
        given[option.name] = value


def fields(given: Given) -> Document:
    """What was given as a spec has it. Raises UsageError: a value that cannot be meant; it names the option."""
    document: Document = {}
    for option in OPTIONS:
        if not option.field or option.name not in given:
            continue
        value = given[option.name]
        try:
            if isinstance(value, list):
                value = [part for text in value for part in _parts(option, text)]
            elif isinstance(value, str):
                value = option.parse(value)
        except UsageError as error:
            raise UsageError(f"--{option.name}: {error}", hint=error.hint) from None
        document[option.field] = value
    return document


def _parts(option: Option, text: str) -> list[object]:
    parts = option.parse(text)
    assert isinstance(parts, list)
    return parts
