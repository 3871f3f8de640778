"""Where everything lies. The only module that spells a path of the spool.

    spool/incoming/  batches/<id>/  held/  queue/  running/<host>/  running/@cancel/  done/<day>/  rejected/  tmp/
    spool/unique/<key>/  notices/<job_id>.<host>
    jobs/<job_id>/   jobs/<job_id>/attempt-<n>/   server/  hosts/

What happened to a job lies in one folder an attempt: the first one's is the
job's own folder, the others stand in it. The names themselves are made in
`names.py`.

Plain strings and no pathlib: `forgather submit` pays for every import here.
"""

from __future__ import annotations

import os

from forgather_spool.errors import UsageError
from forgather_spool.spool.names import ATTEMPT_PREFIX, FIRST_ATTEMPT, entry_name

AGAIN = "again.json"
_REMOVING = ".removed."
OUTPUT = "output.log"
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
