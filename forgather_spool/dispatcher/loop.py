"""The dispatcher's loop: look, settle, decide, launch, wait; and go when there is nothing left.

Everything that wakes it (inotify, a runner's end, the bus, a timer) only makes
it look. It may be killed at any line: what it knows is on disk or asked of the
machine again by the next one. One problem with one job sets that job aside
with its reason; the others go on.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from forgather_spool import policy
from forgather_spool.dispatcher import giving_way
from forgather_spool.dispatcher.dependencies import Dependencies, refuse
from forgather_spool.dispatcher.launch import Launched, Launcher, NotLaunched
from forgather_spool.dispatcher.running import Running
from forgather_spool.dispatcher.settle import Settler
from forgather_spool.dispatcher.telling import Telling
from forgather_spool.dispatcher.view import claim_of_attempt, view_of
from forgather_spool.dispatcher.waitlist import Waitlist
from forgather_spool.errors import AlreadyClaimed, ForgatherError, StorageFailed
from forgather_spool.gpu import Gpu
from forgather_spool.host import nvml, proc
from forgather_spool.host.base import Host, attempt_of_scope
from forgather_spool.job import Claim
from forgather_spool.runner.client import Nursery
from forgather_spool.spool import admit, batch, files, order, unique
from forgather_spool.spool.paths import parse_entry
from forgather_spool.spool.queue import Entry, Spool
from forgather_spool.spool.watch import CREATED, GONE, IN_OPEN, Watch

BELT_S = 60.0  # look at everything this often, whatever was or was not heard
CARDS_POLL_S = 5.0  # while a job waits for a card that is not ours to free
NEVER_MET_PER_PASS = 200  # each costs a few files
RETRY_S = 1.0  # until a launch that failed is tried again; doubles up to RETRY_MAX_S
RETRY_MAX_S = 60.0
SPREAD_PER_PASS = 10_000  # files of batches moved before others have their turn; a tenth of a second
SETTLE_POLL_S = 0.25  # while something is about to change that nothing tells us of


class Dispatcher:
    """One host's dispatcher over one spool. `say` gets a line for what it does and why."""

    def __init__(self, spool: Spool, host: Host, host_name: str, say: Callable[[str], None]) -> None:
        self.spool = spool
        self.host = host
        self.host_name = host_name
        self.say = say
        self.nursery = Nursery(spool.paths.home)
        self.running = Running(host)
        self.settler = Settler(spool, host, host_name, proc.boot_id(), say)
        self.telling = Telling(spool, host_name, say)
        self.giving_way = giving_way.GivingWay(spool, say)
        self.launcher = Launcher(spool, host, self.nursery, host_name, proc.boot_id())
        self.waitlist = Waitlist(spool, self._reject_queued, self._try_reading_later)
        self.dependencies = Dependencies(spool)
        self.gpus: tuple[Gpu, ...] = ()
        self.nvml_problem: str | None = None
        self.decision: policy.Decision | None = None
        self._watch = Watch()
        self._not_before: dict[str, tuple[float, float]] = {}  # job id: when to try again, the pause after that
        self._look_again_at = 0.0
        self._trouble = ""

    # -- one pass ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first look: everything on disk, and what an earlier dispatcher left."""
        self.nursery.prepare()  # it starts while we look
        paths = self.spool.paths
        self.spool.open_host(self.host_name)
        files.make_directory(paths.notices)
        here = paths.running_on(self.host_name)
        for folder in (paths.incoming, paths.batches, paths.queue, here, paths.server, paths.notices):
            self._watch.add(folder, CREATED | GONE)
        self._watch.add(paths.host_lock(self.host_name), IN_OPEN)
        swept = admit.sweep_tmp(self.spool)
        if swept:
            self.say(f"removed {swept} temporary files whose writer is gone")
        self._despite_trouble(self._take_on_keys)
        self.settler.set_aside_bad_specs()
        self._find_lingering()
        self.look()
        self._despite_trouble(lambda: self.giving_way.resume(self.running.claims))

    def look(self) -> None:
        """Look at the directories themselves; what was heard before does not count."""
        for folder in (self.spool.paths.queue, self.spool.paths.running_on(self.host_name)):
            for path in admit.reject_strangers(self.spool, folder):
                self.say(f"rejected {os.path.basename(path)}: its name is no job's")
        self.waitlist.load()
        self.dependencies.forget_unended()
        self._look_again_at = time.monotonic() + BELT_S
        self._trouble = ""
        self._despite_trouble(self._promote)
        self._despite_trouble(self.settler.settle_cancelled)
        for entry in self.spool.taken(self.host_name):
            self._settle(entry)
        self._despite_trouble(self.telling.look)

    def look_again(self) -> None:
        """Forget what was heard and look at the directories in the next pass: the last one was broken off."""
        self._look_again_at = 0.0

    def step(self) -> None:
        """One pass: hear, admit, settle, decide, launch."""
        self._hear()
        if time.monotonic() >= self._look_again_at:
            self.look()
        self._admit()
        for entry in self.running.ended():
            self._settle(entry)
        self._take_events()
        self.running.release()
        self._decide()
        self._take_events()
        self._despite_trouble(lambda: self.giving_way.go_on(self._claims()))
        self._despite_trouble(self.telling.step)

    @property
    def is_idle(self) -> bool:
        """Nothing waits, runs, or holds a card."""
        busy = len(self.waitlist) or len(self.running) or len(self.launcher) or self._trouble
        return not (busy or admit.pending(self.spool)) and self.telling.is_idle

    def has_news(self) -> bool:
        """Whether something may have changed already."""
        return bool(self._poll_all(0.0, ()))

    def wait(self, limit_s: float, more_fds: tuple[int, ...] = ()) -> None:
        """Until something may have changed, at most `limit_s`."""
        self._poll_all(min(limit_s, self._patience_s()), more_fds)

    def _poll_all(self, limit_s: float, more_fds: tuple[int, ...]) -> list[tuple[int, int]]:
        poll = select.poll()
        host_fd = self.host.fileno()
        fds = [
            self._watch.fileno(),
            *self.running.pidfds,
            *self.telling.pidfds,
            *more_fds,
            *([] if host_fd is None else [host_fd]),
        ]
        for fd in fds:
            poll.register(fd, select.POLLIN)
        return poll.poll(max(0.0, limit_s) * 1000)

    def close(self) -> None:
        """Let go. Launches on their way stop by themselves: their children see our end close."""
        self.running.close()
        self.telling.close()
        self.nursery.close()
        self.host.close()
        self._watch.close()

    # -- parts of a pass --------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Take note of names that came and went; anything unclear means looking again."""
        for path, name, mask in self._watch.read():
            if mask & Watch.OVERFLOW:
                self._look_again_at = 0.0
            elif mask & IN_OPEN:
                self.host.expect()
            elif path == self.spool.paths.running_on(self.host_name):
                if mask & GONE:
                    self._may_have_ended(name)
                    self._let_go(parse_entry(name))
            elif path == self.spool.paths.notices:
                if mask & CREATED:
                    self._despite_trouble(self.telling.look)
            elif path == self.spool.paths.queue and not name.startswith("."):
                if mask & GONE:
                    self._may_have_ended(name)
                    self.waitlist.remove(parse_entry(name))
                elif not self.waitlist.add(name):
                    self._look_again_at = 0.0

    def _may_have_ended(self, name: str) -> None:
        entry = parse_entry(name)
        if entry is not None:
            self.dependencies.may_have_ended(entry[1])

    def _let_go(self, entry: Entry | None) -> None:
        """Its spec left running/. A job without cards holds nothing that another waits for: do not await its runner.

        A runner is gone a few milliseconds after its job: the kernel takes them to close an inotify.
        """
        if entry is not None and not self.running.has_cards(entry[1]):
            self._settle(entry)

    def _despite_trouble(self, step: Callable[[], None]) -> None:
        """Take a step that the file system may refuse: then the others go on, and all is looked at again soon."""
        try:
            step()
        except StorageFailed as error:
            self._note_trouble(error)

    def _note_trouble(self, error: StorageFailed) -> None:
        if str(error) != self._trouble:
            self.say(f"not now: {error}")
        self._trouble = str(error)
        self._look_again_at = min(self._look_again_at, time.monotonic() + RETRY_S)

    def _admit(self) -> None:
        self._despite_trouble(self._admit_all)
        self._despite_trouble(self._spread)

    def _spread(self) -> None:
        if batch.spread(self.spool, SPREAD_PER_PASS):
            self.waitlist.load()  # what we moved ourselves needs no inotify to be known

    def _take_on_keys(self) -> None:
        for job_id in unique.go_on(self.spool):
            self.say(f"{job_id}: rejected; see its .why")
        unique.forget_ended(self.spool)

    def _promote(self) -> None:
        batch.promote_decided(self.spool)

    def _admit_all(self) -> None:
        for name, job_id in admit.admit(self.spool):
            admitted, rejected = f"{job_id}: admitted from incoming/{name}", f"rejected incoming/{name}; see its .why"
            self.say(admitted if job_id else rejected)

    def _settle(self, entry: Entry) -> None:
        self._despite_trouble(lambda: self._settle_one(entry))

    def _settle_one(self, entry: Entry) -> None:
        job_id = entry[1]
        if job_id in self.launcher.claims:
            return
        claim = self.settler.settle(entry)
        if claim is None:
            if job_id in self.running:
                self.running.forget(job_id)
            self._take_back(entry)
        else:
            self.running.watch(entry, claim)
            if not proc.is_alive(claim.runner_pid, claim.runner_start_ticks):
                self.running.unwatch_pid(job_id)

    def _take_back(self, entry: Entry) -> None:
        """It is waiting again, if that is how it was settled: known at once, whether or not inotify tells."""
        path = self.spool.paths.queued(entry[1], -entry[0])
        if files.exists(path):
            self.waitlist.add(os.path.basename(path))

    def _take_events(self) -> None:
        for event in self.launcher.events():
            match event:
                case Launched(entry, claim):
                    self.running.watch(entry, claim)
                    self._not_before.pop(entry[1], None)
                    cards = ", ".join(str(ref.index) for ref in claim.gpus)
                    self.say(f"{entry[1]}: started" + (f" on card {cards}" if cards else ""))
                case NotLaunched():
                    self._try_later(event)

    def _try_later(self, event: NotLaunched) -> None:
        job_id = event.entry[1]
        _, pause_s = self._not_before.get(job_id, (0.0, RETRY_S))
        self._not_before[job_id] = (time.monotonic() + pause_s, min(2 * pause_s, RETRY_MAX_S))
        self.say(f"{job_id}: not started: {event.reason}; again in {pause_s:g} s")

    def _decide(self) -> None:
        if not len(self.waitlist):
            self.decision = None
            return
        knew = self.waitlist.wants_cards
        decision = self._ask_policy()
        if self.waitlist.wants_cards and not knew:
            decision = self._ask_policy()  # the first job that wants a card was only now read
        self.decision = decision
        for start in decision.starts:
            self._launch((-start.priority, start.job_id), start)
        for job in decision.never_met[:NEVER_MET_PER_PASS]:
            self._despite_trouble(partial(self._end_never_met, job))
        self._despite_trouble(lambda: self.giving_way.ask_each(decision.preempt, self._claims()))

    def _claims(self) -> dict[str, Claim]:
        """Of what runs or is on its way."""
        return self.running.claims | self.launcher.claims

    def _ask_policy(self) -> policy.Decision:
        if self.waitlist.wants_cards:
            self._read_cards()
        else:
            nvml.close()  # an open NVML keeps the driver from being unloaded and cards from being reset
        now, given_up = time.monotonic(), policy.GivenUp()
        is_not_due = lambda job_id: self._not_before.get(job_id, (0.0, 0.0))[0] > now  # noqa: E731
        due = self.waitlist.candidates(is_not_due, given_up, self.dependencies.state)
        return policy.decide(due, self.view(), given_up)

    def _end_never_met(self, job: policy.NeverMet) -> None:
        entry = (-job.priority, job.job_id)
        self.waitlist.remove(entry)
        if job.then == "hold":
            order.hold(self.spool, [entry])
            self.say(f"{job.job_id}: on hold: {job.reason}")
        elif refuse(self.spool, entry, self.host_name, f"can never start: {job.reason}"):
            self.dependencies.may_have_ended(job.job_id)
            self.say(f"{job.job_id}: refused: {job.reason}")

    def _launch(self, entry: Entry, start: policy.Start) -> None:
        self.waitlist.remove(entry)
        try:
            failed = self.launcher.launch(entry, start.gpus)
        except AlreadyClaimed:
            self._look_again_at = 0.0
        except ForgatherError as error:
            self._try_later(NotLaunched(entry, str(error)))
            self._look_again_at = 0.0
        else:
            if failed is not None:
                self._try_later(failed)

    def view(self) -> policy.View:
        """What the policy sees now."""
        claims = self._claims()
        return view_of(self.spool, claims, self.running.lingering, self.gpus, self.nvml_problem, self._note_trouble)

    def _read_cards(self) -> None:
        reading = nvml.read_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.gpus, self.nvml_problem = reading.gpus, reading.problem

    def _find_lingering(self) -> None:
        """Ended jobs whose scope is not empty: their cards are not free, whoever launched them."""
        for scope in self.host.live_scopes():
            job_id, attempt = attempt_of_scope(scope)
            if attempt and self.spool.has_result(job_id, attempt):
                claim = claim_of_attempt(self.spool, job_id, attempt)
                if claim is not None and claim.host == self.host_name:
                    self.running.linger(job_id, claim)

    def _reject_queued(self, entry: Entry, error: Exception) -> None:
        hint = error.hint if isinstance(error, ForgatherError) else ""
        admit.reject(self.spool, self.spool.paths.queued(entry[1], -entry[0]), str(error), hint)
        self.say(f"{entry[1]}: rejected: {error}")

    def _try_reading_later(self, entry: Entry, error: Exception) -> None:
        self._try_later(NotLaunched(entry, str(error)))

    def _patience_s(self) -> float:
        """How long nothing may happen that we are not told of."""
        if self.waitlist.has_unread:
            return 0.0
        if self.decision is not None and self.decision.never_met and not self._trouble:
            return 0.0  # others may have come after those that were ended
        patience_s = min(self._look_again_at - time.monotonic(), self.telling.patience_s)
        if self.running.lingering or self.running.ended() or admit.pending(self.spool):
            patience_s = min(patience_s, SETTLE_POLL_S)
        if self._not_before and len(self.waitlist):
            patience_s = min(patience_s, min(at for at, _ in self._not_before.values()) - time.monotonic())
        if len(self.giving_way):
            patience_s = min(patience_s, giving_way.LOOK_S)
        if self.decision is not None:
            patience_s = min(patience_s, self._due_s(self.decision))
        return patience_s

    def _due_s(self, decision: policy.Decision) -> float:
        """Until a job's time has come, or cards are looked at for a change nobody tells us of."""
        due_s = CARDS_POLL_S if decision.watch_cards and self.waitlist.wants_cards else BELT_S
        if decision.look_again_at is not None:
            due_s = min(due_s, (decision.look_again_at - datetime.now(UTC)).total_seconds())
        return due_s
