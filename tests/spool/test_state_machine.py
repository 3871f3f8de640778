"""Any order of steps, by several programs that die anywhere: hypothesis looks for one that loses or doubles a job."""

from __future__ import annotations

import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forgather_spool.again import may_follow
from forgather_spool.dispatcher.settle import Settler
from forgather_spool.errors import AlreadyClaimed, Busy
from forgather_spool.spool import admit, attempts, files, order, unique
from forgather_spool.spool.names import parse_entry
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import held_places, waiting_places
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.stop import Stopped, stop
from tests.spool.crashing import dies_after

HOST = "box"
NEVER = 10_000
deaths = st.one_of(st.just(NEVER), st.integers(min_value=0, max_value=14))
picks = st.integers(min_value=0, max_value=99)


class EmptyMachine:
    """A host on which nothing runs: every runner a claim names is dead."""

    def members(self, scope):
        return []

    def signal(self, scope, signum):
        return 0


class Jobs(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.home = tempfile.mkdtemp(prefix="spool")
        self.spool = Spool(self.home + "/home").create()
        self.spool.open_host(HOST)
        self.settler = Settler(self.spool, EmptyMachine(), HOST, "this-boot", lambda line: None)
        self.acknowledged = set()
        self.starts = {}
        self.stopped = {}

    def teardown(self):
        shutil.rmtree(self.home)

    def pick(self, entries, pick):
        return entries[pick % len(entries)] if entries else None

    @rule(death=deaths, priority=st.integers(min_value=-2, max_value=2))
    def submit(self, death, priority):
        with dies_after(death):
            self.acknowledged.add(self.spool.submit({"argv": ["true"], "priority": priority}))

    @rule(death=deaths, retries=st.integers(min_value=1, max_value=2), requeue=st.booleans())
    def submit_to_be_run_again(self, death, retries, requeue):
        with dies_after(death):
            spec = {"argv": ["true"], "retries": retries, "retry_delay_s": 0, "requeue": requeue}
            self.acknowledged.add(self.spool.submit(spec))

    @rule(death=deaths, key=st.sampled_from(["k", "other"]), hold=st.booleans())
    def submit_with_a_key(self, death, key, hold):
        with dies_after(death):
            try:
                self.acknowledged.add(unique.submit(self.spool, {"argv": ["true"], "unique": key, "hold": hold}))
            except Busy:
                pass

    @rule(death=deaths)
    def a_dispatcher_takes_on_keys(self, death):
        with dies_after(death):
            unique.go_on(self.spool)
            unique.forget_ended(self.spool)

    @rule(death=deaths, text=st.sampled_from(['{"argv": ["true"]}', '{"argv": ["true"], "unique": "k"}', "garbage"]))
    def drop_and_admit(self, death, text):
        path = f"{self.spool.paths.incoming}/dropped.json"
        with open(path, "w") as file:
            file.write(text)
        os.utime(path, (1, 1))
        with dies_after(death):
            list(admit.admit(self.spool))

    @rule(death=deaths, pick=picks)
    def claim(self, death, pick):
        entry = self.pick(self.spool.waiting(), pick)
        with dies_after(death):
            if entry is not None:
                self.spool.claim(entry, HOST)
                if not self.spool.has_started(entry[1]):
                    self.spool.withdraw_claim(entry[1])
                    self.spool.write_claim(entry[1], self.claim_document(entry, self.spool.attempt(entry[1])))

    def claim_document(self, entry, attempt):
        return {
            "version": 1, "attempt": attempt, "host": HOST, "host_kind": "process", "boot_id": "this-boot", "gpus": [],
            "scope": f"forgather-job-{entry[1]}-{attempt}.scope", "priority": -entry[0], "claimed_at": utc_now(),
            "runner": {"pid": 4194304, "start_ticks": 1},
        }  # fmt: skip

    @rule(death=deaths, pick=picks)
    def start(self, death, pick):
        """A runner that was told to go, perhaps long ago: its claim may have been withdrawn since."""
        entry = self.pick(self.spool.taken(HOST), pick)
        if entry is None:
            return
        run = entry[1], self.spool.attempt(entry[1])
        before = self.spool.has_started(*run)
        with dies_after(death):
            self.spool.start(entry[1], run[1])
        if self.spool.has_started(*run) and not before:
            self.starts[run] = self.starts.get(run, 0) + 1

    @rule(death=deaths, pick=picks, exit_code=st.integers(min_value=0, max_value=1))
    def end(self, death, pick, exit_code):
        entry = self.pick([e for e in self.spool.taken(HOST) if self.spool.has_started(e[1])], pick)
        with dies_after(death):
            if entry is not None:
                result = {"version": 1, "ended_at": utc_now(), "outcome": {"kind": "exited", "exit_code": exit_code}}
                self.spool.write_result(entry[1], result)
                if not may_follow(self.spool.taken_spec(HOST, entry), result["outcome"], preempted=False):
                    self.spool.finish(entry, HOST, utc_now())

    @rule(death=deaths, pick=picks)
    def cancel(self, death, pick):
        entry = self.pick(self.spool.waiting(), pick)
        with dies_after(death):
            if entry is not None:
                try:
                    self.spool.cancel_waiting(entry, "anna")
                except AlreadyClaimed:
                    pass

    @rule(death=deaths, pick=picks)
    def hold(self, death, pick):
        entry = self.pick(self.spool.waiting(), pick)
        with dies_after(death):
            order.hold(self.spool, [entry] if entry is not None else [])

    @rule(death=deaths, pick=picks)
    def release(self, death, pick):
        entry = self.pick(self.spool.held(), pick)
        with dies_after(death):
            order.release(self.spool, [entry] if entry is not None else [])

    @rule(death=deaths, pick=picks, priority=st.integers(min_value=-2, max_value=2))
    def reprioritize(self, death, pick, priority):
        place = self.pick([*held_places(self.spool), *waiting_places(self.spool)], pick)
        with dies_after(death):
            if place is not None and place.priority != priority:
                order.reprioritize(self.spool, place, priority)

    @rule(death=deaths, pick=picks)
    def cancel_one_on_hold(self, death, pick):
        entry = self.pick(self.spool.held(), pick)
        with dies_after(death):
            if entry is not None:
                self.spool.cancel_waiting(entry, "anna", held=True)

    @rule(death=deaths, pick=picks)
    def stop(self, death, pick):
        """Wherever it stands. What was acknowledged as stopped must not begin another attempt."""
        entry = self.pick(self.spool.taken(HOST), pick)
        with dies_after(death):
            if entry is not None and stop(self.spool, entry[1], "anna") is Stopped.ASKED:
                self.stopped[entry[1]] = self.spool.attempt(entry[1])

    @rule(death=deaths)
    @precondition(lambda self: self.spool.taken(HOST) or self.spool.taken(CANCEL))
    def a_dispatcher_settles(self, death):
        with dies_after(death):
            self.settle()

    def settle(self):
        self.settler.settle_cancelled()
        for entry in self.spool.taken(HOST):
            self.settler.settle(entry)

    @invariant()
    def every_acknowledged_job_is_in_exactly_one_place(self):
        places = self.places()
        for job_id in self.acknowledged:
            assert len(places.get(job_id, [])) == 1, (job_id, places.get(job_id))

    @invariant()
    def nothing_started_twice_or_waits_after_its_start(self):
        assert all(count == 1 for count in self.starts.values())
        waiting = {(job_id, self.spool.attempt(job_id)) for _, job_id in self.spool.waiting()}
        assert not waiting & self.starts.keys()

    @invariant()
    def no_attempt_is_skipped_and_each_came_of_a_failure(self):
        for job_id in self.acknowledged:
            numbers = attempts.numbers(self.spool.paths, job_id)
            assert numbers == list(range(1, len(numbers) + 1))
            for number in numbers[1:]:
                again = attempts.again(self.spool.paths, job_id, number)
                assert self.spool.has_result(job_id, number - 1)
                assert again["retries"] + again["requeues"] == number - 1

    @invariant()
    def what_was_stopped_does_not_begin_again(self):
        for job_id, attempt in self.stopped.items():
            assert not self.spool.has_started(job_id, attempt + 1)

    @invariant()
    def of_each_key_at_most_one_waits_or_runs(self):
        paths = self.spool.paths
        folders = [paths.queue, paths.held, paths.running_on(HOST)]
        specs = [self.spool.spec_at(f"{folder}/{name}") for folder in folders for name in files.names(folder)]
        keys = [spec["unique"] for spec in specs if spec["unique"]]
        assert len(keys) == len(set(keys)), keys

    @invariant()
    def every_file_in_place_is_whole(self):
        for entry in self.spool.waiting():
            assert self.spool.queued_spec(entry)["argv"] == ["true"]

    @invariant()
    def settling_ends_everything_that_can_end(self):
        """After one undisturbed pass nothing is in between: it waits, or it has ended with a result."""
        copy = self.home + "/copy"
        shutil.copytree(self.spool.paths.home, copy)
        try:
            spool = Spool(copy)
            Settler(spool, EmptyMachine(), HOST, "this-boot", lambda line: None).settle_cancelled()
            settler = Settler(spool, EmptyMachine(), HOST, "this-boot", lambda line: None)
            for entry in spool.taken(HOST):
                assert settler.settle(entry) is None
            assert spool.taken(HOST) == [] == spool.taken(CANCEL)
        finally:
            shutil.rmtree(copy)

    def places(self):
        found = {}
        paths = self.spool.paths
        folders = [paths.queue, paths.held, paths.running_on(HOST), paths.running_on(CANCEL)]
        folders += [paths.done_on(day) for day in files.names(paths.done)]
        for folder in folders:
            for name in files.names(folder):
                entry = parse_entry(name)
                job_id = entry[1] if entry else name.removesuffix(".json")
                found.setdefault(job_id, []).append(folder)
        return found


TestJobs = Jobs.TestCase
TestJobs.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
