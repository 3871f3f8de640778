"""The dispatcher's loop: look, settle, decide, launch, wait; and go when there is nothing left.

Everything that wakes it (inotify, a runner's end, the bus, a timer) only makes
it look. It may be killed at any line: what it knows is on disk or asked of the
machine again by the next one. One problem with one job sets that job aside
with its reason; the others go on.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from forgather_spool import policy
from forgather_spool.dispatcher import giving_way
from forgather_spool.dispatcher.deciding import Deciding
from forgather_spool.dispatcher.intake import Intake
from forgather_spool.dispatcher.launch import Launched, Launcher, NotLaunched
from forgather_spool.dispatcher.next_look import NextLook
from forgather_spool.dispatcher.running import Running
from forgather_spool.dispatcher.settle import Settler
from forgather_spool.dispatcher.telling import Telling
from forgather_spool.dispatcher.unmet import Unmet
from forgather_spool.dispatcher.view import claim_of_attempt
from forgather_spool.dispatcher.wake import heralds
from forgather_spool.errors import AlreadyClaimed, ForgatherError, StorageFailed
from forgather_spool.host import proc
from forgather_spool.host.base import Host, attempt_of_scope
from forgather_spool.job import Claim
from forgather_spool.runner.client import Nursery
from forgather_spool.spool import admit, files
from forgather_spool.spool.names import Entry, parse_entry
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject_strangers
from forgather_spool.spool.watch import CREATED, GONE, IN_OPEN, Watch

GATHER_S = 0.002  # what is heard may wait so long where only results come, for which nothing starts
QUIET_S = 0.01  # a job that was launched has started by then: a fork would have taken the processor from it
SETTLE_POLL_S = 0.25  # while something is about to change that nothing tells us of


class Dispatcher:
    """One host's dispatcher over one spool. `say` gets a line for what it does and why."""

    def __init__(
        self, spool: Spool, host: Host, host_name: str, say: Callable[[str], None], nursery: Nursery | None = None
    ) -> None:
        """`nursery` may be on its way already; it ends with this dispatcher."""
        self.spool = spool
        self.host = host
        self.host_name = host_name
        self.say = say
        self._next_look = NextLook(say)
        self.nursery = nursery or Nursery(spool.paths.home)
        self.running = Running(host)
        self.settler = Settler(spool, host, host_name, proc.boot_id(), say)
        self.intake = Intake(spool, say)
        self.telling = Telling(spool, host_name, say)
        self.giving_way = giving_way.GivingWay(spool, say)
        self.deciding = Deciding(spool, say, self._next_look.note_trouble)
        specs = self.deciding.waitlist.specs
        self.launcher = Launcher(spool, host, self.nursery, host_name, proc.boot_id(), specs)
        self.unmet = Unmet(spool, host_name, say, self._next_look.despite_trouble)
        self._watch = Watch()
        self._unknown: set[str] = set()  # jobs in running/ that could not be looked at: nobody knows their cards

    # -- one pass ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first look: everything on disk, and what an earlier dispatcher left."""
        self.nursery.prepare()  # it starts while we look
        paths = self.spool.paths
        self.spool.open_host(self.host_name)
        files.make_directory(paths.notices)
        here = paths.running_on(self.host_name)
        for folder in (*self.intake.folders, paths.queue, paths.server, paths.notices):
            self._watch.add(folder, CREATED | GONE)
        self._watch.add(here, GONE)  # what comes there, we have put there
        self.spool.open_host(CANCEL)
        self._watch.add(paths.running_on(CANCEL), GONE)  # a cancel by others has come to its end
        for herald in heralds(paths, self.host_name):
            self._watch.add(herald, IN_OPEN)
        swept = admit.sweep_tmp(self.spool)
        if swept:
            self.say(f"removed {swept} temporary files whose writer is gone")
        self._next_look.despite_trouble(self.intake.take_on_keys)
        self.settler.set_aside_bad_specs()
        self._find_lingering()
        self.look()
        self._next_look.despite_trouble(lambda: self.giving_way.resume(self.running.claims))

    def look(self) -> None:
        """Look at the directories themselves; what was heard before does not count."""
        for folder in (self.spool.paths.queue, self.spool.paths.running_on(self.host_name)):
            for path in reject_strangers(self.spool, folder):
                self.say(f"rejected {os.path.basename(path)}: its name is no job's")
        self.deciding.look()
        self.intake.heard()
        self._next_look.begins()
        self._next_look.despite_trouble(self.intake.promote)
        self._next_look.despite_trouble(self.settler.settle_cancelled)
        self._unknown.clear()
        for entry in self.spool.taken(self.host_name):
            self._settle(entry)
        self._next_look.despite_trouble(self.telling.look)

    def look_again(self) -> None:
        """Forget what was heard and look at the directories in the next pass: the last one was broken off."""
        self._next_look.make_due()

    def step(self) -> None:
        """One pass: hear, admit, settle, decide, launch. First of all, who waits for nothing but its go gets it."""
        self._take_events()
        self._hear()
        for job_id, attempt in self.nursery.over():
            self.running.is_over(job_id, attempt)
        if self._next_look.patience_s <= 0:
            self.look()
        self._admit()
        for entry in self.running.ended():
            self._settle(entry)
        self._take_events()
        self.running.release()
        self._decide()
        self._take_events()
        if not len(self.deciding.waitlist):
            self.launcher.let_go()  # else one that waits soon takes its place, or it goes by itself
        self._next_look.despite_trouble(lambda: self.giving_way.go_on(self._claims()))
        self._next_look.despite_trouble(self.telling.step)

    @property
    def is_idle(self) -> bool:
        """Nothing waits, runs, or holds a card."""
        busy = len(self.deciding.waitlist) or len(self.running) or len(self.launcher) or self._next_look.trouble
        return not (busy or admit.pending(self.spool)) and self.telling.is_idle

    def has_news(self) -> bool:
        """Whether something may have changed already."""
        return bool(self._poll_all(0.0, ()))

    def wait(self, limit_s: float, more_fds: tuple[int, ...] = ()) -> None:
        """Until something may have changed, at most `limit_s`."""
        limit_s = min(limit_s, self._patience_s())
        if limit_s > QUIET_S and not self.nursery.is_prepared:
            if self._poll_all(QUIET_S, more_fds):
                return
            self.nursery.prepare()
            limit_s -= QUIET_S
        if limit_s > GATHER_S and self.running.some_are_over and len(self.deciding.waitlist):
            if self._poll_all(GATHER_S, more_fds, hears=False):
                return
            limit_s -= GATHER_S
        self._poll_all(limit_s, more_fds)

    def _poll_all(self, limit_s: float, more_fds: tuple[int, ...], *, hears: bool = True) -> list[tuple[int, int]]:
        """Without `hears`, not what inotify tells."""
        poll = select.poll()
        others = (self.host.fileno(), self.nursery.fileno(), self._watch.fileno() if hears else None)
        fds = [
            *self.running.pidfds,
            *self.telling.pidfds,
            *more_fds,
            *(fd for fd in others if fd is not None),
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
                self._next_look.make_due()
            elif mask & IN_OPEN:
                self.host.expect()
            elif path == self.spool.paths.running_on(self.host_name):
                entry = parse_entry(name)
                if entry is not None:
                    self.deciding.may_have_ended(entry[1])
                    self._let_go(entry)
            elif path == self.spool.paths.running_on(CANCEL):
                entry = parse_entry(name)
                if entry is not None:
                    self.deciding.may_have_ended(entry[1])
            elif path in self.intake.folders:
                self.intake.heard()
            elif path == self.spool.paths.notices:
                if mask & CREATED:
                    self._next_look.despite_trouble(self.telling.look)
            elif path == self.spool.paths.queue and not name.startswith("."):
                entry = parse_entry(name) if mask & GONE else None
                if entry is not None:
                    self.deciding.may_have_ended(entry[1])
                    self.deciding.waitlist.remove(entry)
                elif not mask & GONE and not self.deciding.waitlist.add(name):
                    self._next_look.make_due()

    def _let_go(self, entry: Entry) -> None:
        """Its spec left running/. A job without cards holds nothing that another waits for: do not await its runner.

        A runner is gone a few milliseconds after its job: the kernel takes them to close an inotify.
        """
        if not self.running.has_cards(entry[1]):
            self._settle(entry)

    def _admit(self) -> None:
        if self.intake.is_due():
            for step in (self.intake.admit, self._spread, self.intake.note):
                self._next_look.despite_trouble(step)

    def _spread(self) -> None:
        if self.intake.spread():
            self.deciding.waitlist.load()  # what we moved ourselves needs no inotify to be known

    def _settle(self, entry: Entry) -> None:
        try:
            self._settle_one(entry)
        except StorageFailed as error:
            self._next_look.note_trouble(error)
            if entry[1] not in self.running:
                self._unknown.add(entry[1])

    def _settle_one(self, entry: Entry) -> None:
        job_id = entry[1]
        if job_id in self.launcher:
            return
        claim = self.settler.settle(entry)
        if claim is None:
            if job_id in self.running:
                self.launcher.ended(self.running.forget(job_id))
            self._take_back(entry)
        else:
            self.running.watch(entry, claim)
            if not proc.is_alive(claim.runner_pid, claim.runner_start_ticks):
                self.running.unwatch_pid(job_id)

    def _take_back(self, entry: Entry) -> None:
        """It is waiting again, if that is how it was settled: known at once, whether or not inotify tells."""
        path = self.spool.paths.queued(entry[1], -entry[0])
        if files.exists(path):
            self.deciding.waitlist.add(os.path.basename(path))

    def _take_events(self) -> None:
        for event in self.launcher.events():
            match event:
                case Launched(entry, claim):
                    self.running.watch(entry, claim)
                    self.deciding.started(entry[1])
                    cards = ", ".join(str(ref.index) for ref in claim.gpus)
                    self.say(f"{entry[1]}: started" + (f" on card {cards}" if cards else ""))
                case NotLaunched():
                    self.deciding.try_later(event.entry[1], event.reason)

    def _decide(self) -> None:
        decision = self.deciding.decide(self.running.busy | self.launcher.claims, self.running.lingering)
        if decision is None:
            return
        for n, start in enumerate(decision.starts, start=1):
            if start.gpus and self._unknown:
                continue  # a card may be one of theirs; all is looked at again soon, and decided anew
            self._launch((-start.priority, start.job_id), start)
            if n < len(decision.starts):
                self.nursery.prepare()  # it is forked while this one's scope comes up
                self._take_events()
        self.unmet.end(self.deciding)
        self._next_look.despite_trouble(lambda: self.giving_way.ask_each(decision.preempt, self._claims()))

    def _claims(self) -> dict[str, Claim]:
        """Of what runs or is on its way."""
        return self.running.claims | self.launcher.claims

    def _launch(self, entry: Entry, start: policy.Start) -> None:
        self.deciding.waitlist.remove(entry)
        try:
            failed = self.launcher.launch(entry, start.gpus)
        except AlreadyClaimed:
            self._next_look.make_due()
        except ForgatherError as error:
            self.deciding.try_later(entry[1], str(error))
            self._next_look.make_due()
        else:
            if failed is not None:
                self.deciding.try_later(entry[1], failed.reason)

    def _find_lingering(self) -> None:
        """Ended jobs whose scope is not empty: their cards are not free, whoever launched them."""
        for scope in self.host.live_scopes():
            job_id, attempt = attempt_of_scope(scope)
            if attempt and self.spool.has_result(job_id, attempt):
                claim = claim_of_attempt(self.spool, job_id, attempt)
                if claim is not None and claim.host == self.host_name:
                    self.running.linger(job_id, claim)

    def _patience_s(self) -> float:
        """How long nothing may happen that we are not told of."""
        decision = self.deciding.decision
        if decision is not None and decision.never_met and not self._next_look.trouble:
            return 0.0  # others may have come after those that were ended
        patience_s = min(self._next_look.patience_s, self.telling.patience_s)
        if self.running.lingering or self.running.ended() or self.intake.is_pending:
            patience_s = min(patience_s, SETTLE_POLL_S)
        if len(self.giving_way):
            patience_s = min(patience_s, giving_way.LOOK_S)
        return min(patience_s, self.deciding.patience_s())
