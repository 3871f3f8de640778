"""Where everything lies. The only module that spells a path or a file name of the spool.

    spool/incoming/  batches/<id>/  held/  queue/  running/<host>/  running/@cancel/  done/<day>/  rejected/  tmp/
    spool/unique/<key>/  notices/<job_id>.<host>
    jobs/<job_id>/   jobs/<job_id>/attempt-<n>/   server/  hosts/

A spec's name carries its id and, until it is done, its priority:
``<job_id>.p<N>.json``. The priority stays in the name while the job runs, so
that a job put back after a crash keeps the place it had. The members of an
array are jobs called ``<family>[<index>]``, where the family is an id as well.

What happened to a job lies in one folder an attempt: the first one's is the
job's own folder, the others stand in it.

Plain strings and no pathlib: `forgather submit` pays for every import here.
"""

from __future__ import annotations

import os
import time

from forgather_spool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PRIORITY_DIGITS = 8
FIRST_ATTEMPT = 1
ATTEMPT_PREFIX = "attempt-"
MAX_ATTEMPT_DIGITS = 6
AGAIN = "again.json"
MAX_INDEX_DIGITS = 7
MAX_STAMP_DIGITS = 14  # of milliseconds: what a calendar reaches
_REMOVING = ".removed."
_BEHIND_BRACKET = "\\"  # the next character: no member's id of the same array comes after it
OUTPUT = "output.log"
_TAIL = ".from-"
_TAIL_DIGITS = 15
CANCEL = "@cancel"  # no host is called this: host names are [a-z0-9-]


def default_home() -> str:
    """``$FORGATHER_HOME``, else ``~/.config/forgather``; absolute."""
    home = os.environ.get("FORGATHER_HOME") or os.path.expanduser("~/.config/forgather")
    if not os.path.isabs(home):
        message = f"FORGATHER_HOME is {home!r}, not an absolute path"
        raise UsageError(message, hint="set it to an absolute path or unset it")
    try:
        home.encode()
    except UnicodeEncodeError:  # it stands in documents, which are UTF-8
        message = f"FORGATHER_HOME is {home!r}, which is no UTF-8 text"
        raise UsageError(message, hint="set it to a path that is") from None
    return os.path.normpath(home)


def new_job_id() -> str:
    """``q_<unix ms>_<8 hex>``; ids one host makes sort in the order they were made.

    The first five hex digits are the nanoseconds within the millisecond, the
    other three are random: two hosts of one spool do not meet.
    """
    ms, ns = divmod(time.time_ns(), 1_000_000)
    return f"q_{ms:013d}_{ns:05x}{int.from_bytes(os.urandom(2), 'big') & 0xFFF:03x}"


def is_job_id(text: str) -> bool:
    """Milliseconds as we write them, or the predecessor's ten-digit seconds; with an index, a member of an array."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != "q":
        return False
    _, stamp, tail = parts
    tail, bracket, index = tail.partition("[")
    if not (10 <= len(stamp) <= MAX_STAMP_DIGITS and len(tail) == 8):
        return False
    if bracket and not (index.endswith("]") and _is_index(index[:-1])):
        return False
    return _all_in(stamp, "0123456789") and _all_in(tail, "0123456789abcdef")


def member_id(family: str, index: int) -> str:
    return f"{family}[{index}]"


def short_id(job_id: str) -> str:
    """What is after the time: enough to name it by (`look.find`), and to tell it from others on a narrow screen."""
    return job_id.rpartition("_")[2] if is_job_id(job_id.replace("[*]", "")) else job_id


def is_short_id(text: str) -> bool:
    return is_job_id(f"q_0000000000_{text}")


def family_of(job_id: str) -> str | None:
    """The id of the array that a job is a member of; None for a job of its own."""
    family, bracket, _ = job_id.partition("[")
    return family if bracket else None


def index_of(job_id: str) -> int | None:
    """Its index in its array; None for a job of its own."""
    _, bracket, index = job_id.partition("[")
    return int(index[:-1]) if bracket else None


def submitted_unix_s(job_id: str) -> float:
    """When the id was made, in Unix seconds."""
    stamp = job_id.split("_")[1]
    return int(stamp) / (1000 if len(stamp) > 10 else 1)


def entry_name(job_id: str, priority: int) -> str:
    return f"{job_id}.p{priority}.json"


def start_order(entry: tuple[int, str]) -> tuple[int, str]:
    """What to sort entries by: members of an array start by their number, so ``[9]`` comes before ``[10]``."""
    minus_priority, job_id = entry
    family, _, index = job_id.partition("[")
    return minus_priority, f"{family}{chr(len(index))}{index}"  # of two numbers the longer one is larger


def in_start_order(entries: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Sorted by `start_order`, in a third of the time: strings alone compare fast, and sorting is stable."""
    from operator import itemgetter  # not for a submit, which sorts nothing

    by_id = sorted(entries, key=itemgetter(1))
    if any_member(map(itemgetter(1), entries)):
        _put_members_in_order(by_id)
    by_id.sort(key=itemgetter(0))
    return by_id


def _put_members_in_order(by_id: list[tuple[int, str]]) -> None:
    """By their number, where they stand one behind the other as strings do: ``[10]`` before ``[9]``."""
    from bisect import bisect_left
    from operator import itemgetter

    at = 0
    while at < len(by_id):
        family = family_of(by_id[at][1])
        if family is None:
            at += 1
            continue
        end = bisect_left(by_id, f"{family}{_BEHIND_BRACKET}", lo=at, key=itemgetter(1))
        by_id[at:end] = sorted(by_id[at:end], key=lambda entry: len(entry[1]))  # of two numbers the longer is larger
        at = end


def end_of_family(entries: list[tuple[int, str]], at: int) -> int:
    """Where the members of an array end that stand one behind the other from `at` on, in start order."""
    from bisect import bisect_left

    minus_priority, job_id = entries[at]
    behind = minus_priority, f"{family_of(job_id)}{_BEHIND_BRACKET}"
    return bisect_left(entries, behind, lo=at, key=start_order)


def any_member(job_ids: Iterable[str]) -> bool:
    """Whether any of these is a member of an array; one search for a hundred thousand."""
    return "[" in "".join(job_ids)


def parse_entry(name: str) -> tuple[int, str] | None:
    """``(-priority, job_id)`` of a spec's name; `start_order` sorts these. None: no name of ours."""
    stem, dot, ending = name.rpartition(".")
    job_id, p, digits = stem.partition(".p")
    if ending != "json" or not dot or not p or not is_job_id(job_id):
        return None
    number = digits[1:] if digits.startswith("-") else digits
    if not number or len(number) > MAX_PRIORITY_DIGITS or not _all_in(number, "0123456789"):
        return None
    if entry_name(job_id, int(digits)) != name:  # p007, p-0: one job, one name
        return None
    return -int(digits), job_id


def parse_entries(names: list[str]) -> list[tuple[int, str]]:
    """`parse_entry` of each name that is one of ours, in no order: in a quarter of the time, for a hundred thousand."""
    import re  # 5 ms: whoever lists a queue has it anyway, a submit does not list
    from operator import itemgetter

    job_id = rf"q_[0-9]{{10,{MAX_STAMP_DIGITS}}}_[0-9a-f]{{8}}(?:\[(?:0|[1-9][0-9]{{0,{MAX_INDEX_DIGITS - 1}}})\])?"
    pattern = rf"/({job_id})\.p(0|-?[1-9][0-9]{{0,{MAX_PRIORITY_DIGITS - 1}}})\.json(?=/)"
    found = re.findall(pattern, f"/{'/'.join(names)}/")  # no name has a slash in it
    job_ids, digits = map(itemgetter(0), found), list(map(itemgetter(1), found))
    minus = {text: -int(text) for text in set(digits)}
    return list(zip(map(minus.__getitem__, digits), job_ids, strict=True))


def parse_attempt(name: str) -> int | None:
    """The number of an attempt's folder, from 2 on. None: the name is no such folder's."""
    digits = name.removeprefix(ATTEMPT_PREFIX)
    if digits == name or not digits or len(digits) > MAX_ATTEMPT_DIGITS or not _all_in(digits, "0123456789"):
        return None
    number = int(digits)
    return number if number > FIRST_ATTEMPT and str(number) == digits else None


def _is_index(text: str) -> bool:
    """A number spelled as we do: without zeros before it, so that one member has one name."""
    return 0 < len(text) <= MAX_INDEX_DIGITS and _all_in(text, "0123456789") and (text == "0" or text[0] != "0")


def _all_in(text: str, alphabet: str) -> bool:
    return not text.strip(alphabet)


def output_tail(output_path: str, start: int) -> str:
    """Where the part of a job's output lies that begins with byte `start`, once ``output.log`` has its share.

    With zeros before it, so that a shell's ``output.log*`` is in order.
    """
    return f"{output_path}{_TAIL}{start:0{_TAIL_DIGITS}d}"


def output_tail_start(name: str) -> int | None:
    """The byte a file of this name begins with; None: it is no part of an output."""
    _, tail, digits = name.rpartition(_TAIL)
    return int(digits) if tail and len(digits) >= _TAIL_DIGITS and _all_in(digits, "0123456789") else None


class Paths:
    """Every path under one home, as strings."""

    __slots__ = (
        "batches", "done", "held", "home", "hosts", "incoming", "jobs", "notices", "queue", "rejected", "running",
        "server", "spool", "tmp", "unique",
    )  # fmt: skip

    def __init__(self, home: str) -> None:
        self.home = home
        self.spool = f"{home}/spool"
        self.incoming = f"{home}/spool/incoming"
        self.batches = f"{home}/spool/batches"
        self.held = f"{home}/spool/held"
        self.unique = f"{home}/spool/unique"
        self.queue = f"{home}/spool/queue"
        self.running = f"{home}/spool/running"
        self.done = f"{home}/spool/done"
        self.rejected = f"{home}/spool/rejected"
        self.tmp = f"{home}/spool/tmp"
        self.notices = f"{home}/spool/notices"
        self.jobs = f"{home}/jobs"
        self.server = f"{home}/server"
        self.hosts = f"{home}/hosts"

    def skeleton(self) -> tuple[str, ...]:
        """The directories that must stand before anything is written, parents first; the newest of them last."""
        return (
            self.home, self.spool, self.incoming, self.queue, self.running, f"{self.running}/{CANCEL}",
            self.done, self.rejected, self.tmp, self.jobs, self.server, self.hosts, self.held, self.batches,
            self.unique,
        )  # fmt: skip

    def queued(self, job_id: str, priority: int) -> str:
        return f"{self.queue}/{entry_name(job_id, priority)}"

    def waiting_at(self, job_id: str, priority: int, *, held: bool) -> str:
        """Where a new job's spec goes: held/ while it is on hold."""
        return f"{self.held if held else self.queue}/{entry_name(job_id, priority)}"

    def batch(self, batch_id: str) -> str:
        """Jobs that are acknowledged and on their way into queue/ or, from its folder held/, into held/."""
        return f"{self.batches}/{batch_id}"

    def running_on(self, host: str) -> str:
        return f"{self.running}/{host}"

    def taken(self, host: str, job_id: str, priority: int) -> str:
        return f"{self.running}/{host}/{entry_name(job_id, priority)}"

    def done_on(self, day: str) -> str:
        return f"{self.done}/{day}"

    def ended(self, day: str, job_id: str) -> str:
        return f"{self.done}/{day}/{job_id}.json"

    def job(self, job_id: str) -> str:
        """Everything of the job but its spec, all attempts."""
        return f"{self.jobs}/{job_id}"

    def removed(self, job_id: str) -> str:
        """Where the spec goes when the job is removed: it marks a folder whose removal was interrupted."""
        return f"{self.jobs}/{job_id}/removed.json"

    def notice(self, job_id: str, host: str) -> str:
        """Marks a job whose end is still to be told of; `host` is whose dispatcher sees to it, or `CANCEL`: any."""
        return f"{self.notices}/{job_id}.{host}"

    def told(self, job_id: str, target: int) -> str:
        """How telling the `target`-th of those to be told went."""
        return f"{self.jobs}/{job_id}/notified-{target}.json"

    def imported(self, job_id: str) -> str:
        """The spec of a job being imported, until it is renamed to done/: it marks an import that was interrupted."""
        return f"{self.jobs}/{job_id}/imported.json"

    @property
    def snapshots(self) -> str:
        """A record of each snapshot, so that its ref in somebody's repository is not forgotten."""
        return f"{self.home}/snapshots"

    def snapshot(self, snapshot_id: str) -> str:
        return f"{self.home}/snapshots/{snapshot_id}.json"

    @property
    def worktrees(self) -> str:
        """Where jobs with a snapshot run."""
        return f"{self.home}/worktrees"

    def worktree(self, job_id: str) -> str:
        return f"{self.home}/worktrees/{job_id}"

    def worktree_made(self, job_id: str) -> str:
        """Marks a worktree that is whole."""
        return f"{self.home}/worktrees/.{job_id}.made"

    def worktree_kept(self, job_id: str) -> str:
        """Marks the worktree of an ended job in which there is something to keep."""
        return f"{self.home}/worktrees/.{job_id}.kept"

    def removing(self, job_id: str) -> str:
        """Where its folder goes to be emptied."""
        return f"{self.jobs}/{_REMOVING}{job_id}"

    def being_removed(self, name: str) -> str | None:
        """The job whose folder, on its way out, has this name in jobs/; None: it is no such folder."""
        return name.removeprefix(_REMOVING) if name.startswith(_REMOVING) else None

    def attempt(self, job_id: str, attempt: int) -> str:
        """The folder of one attempt, with the files below; `spool.attempts` says which is the current one."""
        first = attempt == FIRST_ATTEMPT
        return f"{self.jobs}/{job_id}" if first else f"{self.jobs}/{job_id}/{ATTEMPT_PREFIX}{attempt}"

    def again(self, job_id: str, attempt: int) -> str:
        """Why there is this attempt; the first has none."""
        return f"{self.attempt(job_id, attempt)}/{AGAIN}"

    def claim(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/claim.json"

    def started(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/started.json"

    def process(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/process.json"

    def result(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/result.json"

    def output(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/{OUTPUT}"

    def script(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/script"

    def stop_request(self, job_id: str, attempt: int, *, force: bool) -> str:
        return f"{self.attempt(job_id, attempt)}/{'kill' if force else 'stop'}.json"

    def preempt_request(self, job_id: str, attempt: int) -> str:
        """Its cards are wanted for a job of higher priority."""
        return f"{self.attempt(job_id, attempt)}/preempt.json"

    def give_way(self, job_id: str, attempt: int) -> str:
        """The dispatcher's own request to stop it, for that reason."""
        return f"{self.attempt(job_id, attempt)}/give_way.json"

    def endpoint(self, job_id: str, attempt: int) -> str:
        """A trainer's, while it trains; beside it its token and status."""
        return f"{self.attempt(job_id, attempt)}/endpoint.json"

    def auth_token(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/auth_token"

    def status(self, job_id: str, attempt: int) -> str:
        return f"{self.attempt(job_id, attempt)}/status.json"

    def control(self, job_id: str, attempt: int) -> str:
        """The trainer's mailbox."""
        return f"{self.attempt(job_id, attempt)}/control"

    @property
    def gpu_policy(self) -> str:
        return f"{self.server}/gpu_policy.json"

    @property
    def dispatch(self) -> str:
        return f"{self.server}/dispatch.json"

    @property
    def dispatcher_log(self) -> str:
        """What a dispatcher says that no systemd keeps for it."""
        return f"{self.server}/dispatcher.log"

    @property
    def dataset_server(self) -> str:
        """The dataset servers' folder: tokens and the default config."""
        return f"{self.home}/dataset_server"

    @property
    def dataset_config(self) -> str:
        return f"{self.dataset_server}/config.yaml"

    def dataset_token(self, port: int) -> str:
        return f"{self.dataset_server}/{port}.token"

    def host(self, host: str) -> str:
        return f"{self.hosts}/{host}.json"

    def notify_lock(self, host: str) -> str:
        """Held by the process that tells of ends, and by each of its children while it tells."""
        return f"{self.hosts}/{host}.notify.lock"

    def host_lock(self, host: str) -> str:
        """Held by the host's dispatcher while it lives; a convenience, never what correctness rests on."""
        return f"{self.hosts}/{host}.lock"
