"""Faults somebody might write one day, each a change of a few words, and the test that must notice it.

A harness that cannot find a fault put there on purpose is no evidence that there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

POWER_CUT = (
    "tests/spool/test_powerloss.py::test_after_a_power_cut_at_any_change_nothing_is_lost_and_nothing_runs_twice[0]"
)
SUBMIT = "tests/sweep/test_commands.py::test_a_submit_is_whole_or_never_was_and_what_it_acknowledged_runs_once"
RUNNER_KILLED = "tests/sweep/test_runner.py::test_killed_anywhere_its_job_runs_once_or_is_called_lost"
RACES = "tests/spool/test_races.py"
RUNNER = "tests/story/test_runner.py"
DISPATCHER = "tests/story/test_dispatcher.py"
BAD_MOMENTS = "tests/spool/test_bad_moments.py"
BATCH = "tests/spool/test_batch.py"
LARGE_BATCH = "tests/spool/test_large_batch.py"
WRITER = "tests/spool/test_writer.py"
ORDER = "tests/spool/test_order.py"
UNIQUE = "tests/spool/test_unique.py"
WAITLIST = "tests/spool/test_waitlist.py"
EDIT = "tests/story/test_sched_edit.py"
AGAIN = "tests/story/test_run_again.py"
ATTEMPTS = "tests/spool/test_attempts.py"
RESERVE = "tests/values/test_policy_reserve.py"
GATES = "tests/values/test_policy_gates.py"


@dataclass(frozen=True)
class Fault:
    """In `path` of the package, `right` (which stands there once) becomes `wrong`; `check` must fail then."""

    name: str
    path: str
    right: str
    wrong: str
    check: str


FAULTS = (
    Fault(
        "the content is not synced",
        "spool/files/writing.py",
        "        if durable:\n            os.fsync(fd)\n",
        "",
        POWER_CUT,
    ),
    Fault(
        "the directory is not synced",
        "spool/files/syncing.py",
        "    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)\n    try:\n        os.fsync(fd)\n",
        "    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)\n    try:\n        pass\n",
        POWER_CUT,
    ),
    Fault(
        "a dropped file is not synced when it is admitted",
        "spool/files/syncing.py",
        "        if mode is not None:\n            os.fchmod(fd, mode)\n        os.fsync(fd)\n",
        "        if mode is not None:\n            os.fchmod(fd, mode)\n        else:\n            os.fsync(fd)\n",
        POWER_CUT,
    ),
    Fault(
        "a file is written in place",
        "spool/files/writing.py",
        "    staged = _stage(data, tmp, durable=durable)\n"
        "    try:\n        _give_name(staged, path, durable=durable)\n",
        "    staged = f'{tmp}/none'\n    try:\n"
        "        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)\n"
        "        os.write(fd, data)\n        os.fsync(fd)\n        os.close(fd)\n",
        f"{SUBMIT}[into_a_spool_that_stands-kill]",
    ),
    Fault(
        "a submit that fails at its last step stays in the queue",
        "spool/files/writing.py",
        "            unlink_quietly(path)  # not acknowledged, so better not there\n",
        "",
        f"{SUBMIT}[into_a_spool_that_stands-fail]",
    ),
    Fault(
        "a job is claimed by looking and then copying",
        "spool/queue.py",
        "            files.move(source, self.paths.taken(folder, job_id, priority), durable=durable)\n",
        "            data = files.read_bytes(source)\n"
        "            files.write_bytes_once(self.paths.taken(folder, job_id, priority), data, self.paths.tmp)\n"
        "            files.discard(source)\n",
        f"{RACES}::test_sixteen_dispatchers_share_ten_thousand_jobs_and_none_is_taken_twice",
    ),
    Fault(
        "a claim is withdrawn by looking and then removing",
        "spool/queue.py",
        "            files.move(claim, aside)\n",
        "            files.read_bytes(claim)\n            files.discard(claim)\n",
        f"{RACES}::test_a_start_and_a_withdrawal_never_both_succeed_wherever_one_comes_between",
    ),
    Fault(
        "a second result overwrites the first",
        "spool/queue.py",
        "            files.write_once_in_one_commit(path, result, self.paths.tmp)\n",
        "            files.replace(path, result, self.paths.tmp)\n",
        f"{RACES}::test_of_many_results_one_stands",
    ),
    Fault(
        "the end of the go-pipe is taken for a go",
        "runner/nursery.py",
        "            return ready  # what follows is the go\n    return None\n",
        "            return ready  # what follows is the go\n    return ready\n",
        f"{RUNNER}::test_a_child_that_was_told_half_of_it_runs_nothing",
    ),
    Fault(
        "a runner starts without renaming its claim",
        "runner/ready.py",
        "taken = self.spool.start(request.job_id, request.attempt, is_claim_durable=self._is_claim_durable)\n",
        "taken = True\n",
        f"{RUNNER_KILLED}[0]",
    ),
    Fault(
        "a runner does not look whether the claim is its own",
        "runner/ready.py",
        'return claim.get("runner") == mine and ',
        'return claim.get("runner") is not None and ',
        f"{RUNNER}::test_a_start_that_is_not_ours_runs_nothing",
    ),
    Fault(
        "a runner that made ready does not look where its job lies now",
        "runner/ready.py",
        "if not os.path.lexists(paths.taken(request.host, request.job_id, request.priority)):",
        "if False:",
        f"{RUNNER}::test_a_start_that_was_ours_while_we_made_ready_is_looked_at_again",
    ),
    Fault(
        "a result whose writing the power cut off stands",
        "spool/sight.py",
        "        except (FileNotFoundError, BadDocument):\n            return False\n        except UnreadableFile:\n",
        "        except FileNotFoundError:\n            return False\n        except (BadDocument, UnreadableFile):\n",
        POWER_CUT,
    ),
    Fault(
        "a result is given before it is on disk",
        "spool/files/writing.py",
        "                os.fsync(sync_first)\n",
        "                pass\n",
        POWER_CUT,
    ),
    Fault(
        "a spec that was edited after it was looked at is run as it was",
        "dispatcher/specs.py",
        "        if which is not None and which == files.content_identity(",
        "        if which is not None or which == files.content_identity(",
        f"{WAITLIST}::test_a_job_edited_between_its_look_and_its_launch_runs_as_edited",
    ),
    Fault(
        "a job is put away before its result stands",
        "runner/result.py",
        '    _patiently(lambda: spool.write_result(entry[1], result, result["attempt"]), journal)\n'
        "    if not is_last():\n        return False\n"
        '    _patiently(lambda: spool.finish(entry, host, result["ended_at"], spec), journal)\n',
        '    _patiently(lambda: spool.finish(entry, host, result["ended_at"], spec), journal)\n'
        '    _patiently(lambda: spool.write_result(entry[1], result, result["attempt"]), journal)\n',
        RUNNER_KILLED,
    ),
    Fault(
        "a card is free once its job was asked to stop",
        "dispatcher/deciding.py",
        "        view = view_of(self._spool, claims, lingering, self.gpus, self.nvml_problem, self._on_trouble)\n",
        "        heedful = {i: c for i, c in claims.items() if self._spool.asked_to_stop_by(i) is None}\n"
        "        view = view_of(self._spool, heedful, lingering, self.gpus, self.nvml_problem, self._on_trouble)\n",
        f"{DISPATCHER}::test_a_card_is_not_given_away_while_a_stopped_job_still_runs",
    ),
    Fault(
        "a policy that cannot be read is an empty one",
        "dispatcher/view.py",
        '        return dispatch, GpuPolicy(), f"the GPU policy cannot be read: {error}"\n',
        "        return dispatch, GpuPolicy(), None and str(error)\n",
        f"{DISPATCHER}::test_policy_keeps_cards_back_and_a_damaged_policy_keeps_all_back",
    ),
    Fault(
        "a launcher does not look whether the job had started",
        "dispatcher/launch.py",
        "        if self._spool.has_started(entry[1], attempt) or self._spool.has_result(entry[1], attempt):\n",
        "        if self._spool.has_result(entry[1], attempt):\n",
        f"{DISPATCHER}::test_a_job_that_started_is_never_started_again_even_if_its_claim_came_undone",
    ),
    Fault(
        "a job is lost while its processes run on",
        "dispatcher/steps.py",
        "    return Step.END_REMAINS if facts.scope_populated else Step.LOSE\n",
        "    return Step.LOSE\n",
        f"{DISPATCHER}::test_a_killed_runner_is_a_lost_job_and_its_command_does_not_run_on",
    ),
    Fault(
        "another boot's runner is looked for by its pid",
        "dispatcher/settle.py",
        "        same_boot = claim is None or claim.boot_id == self._boot_id\n",
        "        same_boot = True\n",
        "tests/spool/test_settle.py::test_a_runner_of_another_boot_is_gone_whoever_has_its_pid_now",
    ),
    Fault(
        "what cannot be looked at is taken for absent",
        "spool/files/reading.py",
        '        raise failed("look at", path, error) from None\n',
        "        return error is None\n",
        f"{BAD_MOMENTS}::test_whether_a_job_has_started_or_ended_is_not_guessed",
    ),
    Fault(
        "what cannot be read now is taken for damaged",
        "spool/files/reading.py",
        '    return failed("read", path, error)\n\n\n# These say',
        '    return UnreadableFile(f"{path}: {error.strerror}")\n\n\n# These say',
        f"{BAD_MOMENTS}::test_a_job_whose_spec_cannot_be_read_now_goes_on_waiting",
    ),
    Fault(
        "a large batch is not synced",
        "spool/batch.py",
        "            together.sync_file_system(self._folder)\n            return\n",
        "            return\n",
        f"{BATCH}::test_a_batch_as_large_as_needs_one_sync_is_durable_and_whole",
    ),
    Fault(
        "a batch is written where it is read",
        "spool/batch.py",
        "            self._make_durable()\n            files.move(self._folder, target)\n",
        "            spread(self._spool)\n            self._make_durable()\n"
        "            together.move_all(self._folder, self._spool.paths.queue, _job_names(self._folder))\n"
        "            files.move(self._folder, target)\n",
        f"{BATCH}::test_a_submitter_that_dies_anywhere_has_submitted_all_or_nothing",
    ),
    Fault(
        "a dropped array is copied and not moved when it is decided",
        "spool/batch.py",
        '        files.move(path, f"{self._folder}/{MARK}")\n',
        '        files.mark(f"{self._folder}/{MARK}")\n',
        f"{BATCH}::test_of_two_dispatchers_that_write_out_one_dropped_array_one_wins",
    ),
    Fault(
        "the next attempt has its folder before the folder says why",
        "spool/files/moving.py",
        '        write_once(f"{staged}/{name}", document, tmp)\n        try:\n'
        "            os.rename(staged, path)  # onto a directory that is not empty it fails (rename(2))\n",
        '        try:\n            os.rename(staged, path)\n            write_once(f"{path}/{name}", document, tmp)\n',
        f"{ATTEMPTS}::test_wherever_its_maker_dies_an_attempt_that_is_there_says_why",
    ),
    Fault(
        "an attempt is made over one that stands",
        "spool/files/moving.py",
        "            os.rename(staged, path)  # onto a directory that is not empty it fails (rename(2))\n",
        "            remove_tree(path)\n            os.rename(staged, path)\n",
        f"{ATTEMPTS}::test_an_attempt_is_made_once",
    ),
    Fault(
        "a stop between two attempts is not heard",
        "dispatcher/settle.py",
        "            self._spool.end_unstarted(entry, self._host_name, asked_by)\n            return True\n",
        "            pass\n",
        "tests/spool/test_settle.py::test_a_stop_asked_for_while_the_next_attempt_is_made_counts",
    ),
    Fault(
        "a runner puts a job away that is to run again",
        "runner/run.py",
        '        return not may_follow(self._spec, result["outcome"], preempted=preempted)\n',
        "        return may_follow is not None\n",
        f"{AGAIN}::test_a_job_is_tried_again_until_it_succeeds",
    ),
    Fault(
        "a job is held by a second name and then the removal of the first",
        "spool/files/together.py",
        '                os.rename(f"{source}/{name}", f"{target}/{renamed(name)}")\n',
        '                os.link(f"{source}/{name}", f"{target}/{renamed(name)}")\n'
        '                os.unlink(f"{source}/{name}")\n',
        f"{ORDER}::test_of_a_hold_and_a_claim_that_interleave_anywhere_one_wins",
    ),
    Fault(
        "a key is taken by looking and then writing",
        "spool/unique.py",
        "        if files.take_name(folder, target):\n            return\n        _refuse_twin(spool, target, key)\n",
        "        _refuse_twin(spool, target, key)\n        files.remove_tree(target)\n"
        "        if files.take_name(folder, target):\n            return\n",
        f"{UNIQUE}::test_of_two_that_interleave_anywhere_exactly_one_gets_the_key",
    ),
    Fault(
        "an edited spec is renamed onto the old one",
        "spool/order.py",
        "        if not files.exchange(staged, place.path):\n            return False\n",
        "        files.move(staged, place.path)\n        return True\n",
        f"{EDIT}::test_somebody_elses_release_meanwhile_wins_and_there_is_one_job",
    ),
    Fault(
        "cards are kept for a job and given away all the same",
        "policy/reserve.py",
        "    if due_at is None or due_at > board.view.now",
        "    if due_at is None or due_at != board.view.now",
        f"{RESERVE}::test_cards_are_kept_for_a_job_that_has_waited_long_enough",
    ),
    Fault(
        "the throttle of an array does not count those that run",
        "policy/gates.py",
        "    running, kept_for = board.in_family[family], _kept_for(",
        "    running, kept_for = 0 * board.in_family[family], _kept_for(",
        f"{GATES}::test_an_array_runs_as_many_members_at_once_as_it_says",
    ),
    Fault(
        "what was dropped from sh is admitted while a power cut may bring it back to tmp/",
        "spool/admit.py",
        "            files.sync_names(folder)  #",
        "            pass  #",
        "tests/spool/test_powerloss.py::test_after_a_power_cut_what_was_dropped_from_sh_is_one_job",
    ),
    Fault(
        "a removal takes the folder before the job leaves the list",
        "spool/remove.py",
        "    marked = [place for place in places if",
        "    [files.remove_tree(paths.job(place.job_id)) for place in places]\n"
        "    marked = [place for place in places if",
        "tests/spool/test_retention.py::test_a_removal_that_was_killed_between_any_two_steps_is_finished_by_the_next",
    ),
    Fault(
        "a job is done before it is noted whom to tell",
        "spool/queue.py",
        "        notices.owe(self.paths, source, entry[1], host, spec)\n"
        "        target = self.paths.ended(day, entry[1])\n"
        "        try:\n            files.move(source, target, durable=False)\n",
        "        target = self.paths.ended(day, entry[1])\n        try:\n"
        "            files.move(source, target, durable=False)\n"
        "            notices.owe(self.paths, target, entry[1], host)\n",
        "tests/spool/test_notices.py::test_a_job_is_not_done_before_its_telling_is_noted",
    ),
    Fault(
        "a card is given away while it is not known who has it",
        "dispatcher/loop.py",
        "                continue  # a card may be one of theirs; all is looked at again soon, and decided anew\n",
        "                pass\n",
        "tests/story/test_preemption.py::test_no_card_is_given_away_while_it_is_not_known_who_has_it",
    ),
    Fault(
        "an end that comes between two looks is not decided on",
        "dispatcher/settle.py",
        "            if facts.result and not had_ended:\n",
        "            if False:\n",
        "tests/spool/test_settle.py::test_a_result_that_comes_between_two_looks_is_decided_on",
    ),
    Fault(
        "a batch is synced while its second process still writes",
        "spool/batch.py",
        "            self._writer.finish()\n",
        "            pass\n",
        f"{LARGE_BATCH}::test_the_one_sync_comes_after_the_last_file",
    ),
    Fault(
        "how the second process ended is not asked",
        "spool/files/writer.py",
        "        if status != 0:\n",
        "        if status > 254:\n",
        f"{LARGE_BATCH}::test_whichever_is_killed_anywhere_all_are_submitted_or_none",
    ),
    Fault(
        "a second process writes on without its first",
        "spool/files/writer.py",
        "                if os.getppid() != parent:\n",
        "                if False:\n",
        f"{WRITER}::test_whose_parent_is_dead_writes_nothing_more",
    ),
    Fault(
        "a batch is given up while its second process still writes",
        "spool/batch.py",
        "            self._writer.stop()\n",
        "            pass\n",
        f"{LARGE_BATCH}::test_a_batch_that_is_given_up_leaves_nothing_and_nobody",
    ),
)
