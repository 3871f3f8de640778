"""The options of `forgather submit`, said once.

From this table come the fast parser below, the click command in
`submit_command.py` (help, completion, the reference), and the values: whichever
parser split the words, `submit.py` makes of them what the table says.

Options end at ``--`` or at the first word that is no option; the rest is the
command, untouched.
"""

from __future__ import annotations

from forgather_spool.cli import quantities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Given = dict[str, object]  # option name without dashes: its text, True for a flag, a list of texts where it repeats


class Option:
    """One ``--name``. `metavar` empty: a flag. `field`: the key of the spec that it sets, by way of `parse`."""

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


_SIZE = f"e.g. {quantities.SIZE_FORMS}"
_DURATION = f"e.g. {quantities.DURATION_FORMS}"

OPTIONS = (
    Option("name", "NAME", "For people; need not be unique.", field="name"),
    Option("priority", "N", "Higher starts first. [default: 0]", field="priority", parse=quantities.whole_number),
    Option("gpus", "N", "How many cards. [default: 0]", field="gpus", parse=quantities.whole_number),
    Option(
        "gpu-memory", "SIZE", f"Free memory each card must have, {_SIZE}.", field="gpu_memory_bytes",
        parse=quantities.size_bytes,
    ),
    Option("time", "D", f"Stop it after this long, {_DURATION}.", field="time_limit_s", parse=quantities.duration_s),
    Option("memory", "SIZE", f"At most this much memory, {_SIZE}.", field="memory_bytes", parse=quantities.size_bytes),
    Option("cpus", "N", "At most this many CPUs' worth of time.", field="cpus", parse=quantities.decimal_number),
    Option("grace", "D", "Between TERM and KILL when it is stopped. [default: 10s]", field="grace_s",
           parse=quantities.duration_s),
    Option("cwd", "DIR", "Where it runs. [default: here]"),
    Option("env", "K=V|NAME", "Set a variable, or copy NAME from here; may be repeated.", repeats=True),
    Option("env-file", "FILE", "Lines of K=V or NAME; --env wins.", repeats=True),
    Option("script", "FILE|-", "Submit a script, which begins with #!; - is stdin. CMD and ARGs are its arguments."),
    Option("tty", "", "Give the job a terminal instead of a pipe.", field="tty"),
    Option("json", "", "Print the job as JSON, with its job_id."),
    Option("dry-run", "", "Print the spec as JSON and submit nothing."),
    Option("quiet", "", "Print the job id alone and no remarks."),
)  # fmt: skip

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
