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
        "spool/files.py",
        "        if durable:\n            os.fsync(fd)\n",
        "",
        POWER_CUT,
    ),
    Fault(
        "the directory is not synced",
        "spool/files.py",
        "    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)\n    try:\n        os.fsync(fd)\n",
        "    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)\n    try:\n        pass\n",
        POWER_CUT,
    ),
    Fault(
        "a dropped file is not synced when it is admitted",
        "spool/files.py",
        "        os.fchmod(fd, FILE_MODE)\n        os.fsync(fd)\n    except OSError as error:\n",
        "        os.fchmod(fd, FILE_MODE)\n    except OSError as error:\n",
        POWER_CUT,
    ),
    Fault(
        "a file is written in place",
        "spool/files.py",
        "    staged = _stage(data, tmp)\n    try:\n        _link(staged, path)\n",
        "    staged = f'{tmp}/none'\n    try:\n"
        "        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)\n"
        "        os.write(fd, data)\n        os.fsync(fd)\n        os.close(fd)\n",
        f"{SUBMIT}[into_a_spool_that_stands-kill]",
    ),
    Fault(
        "a submit that fails at its last step stays in the queue",
        "spool/files.py",
        "            _unlink_quietly(path)  # not acknowledged, so better not there\n",
        "",
        f"{SUBMIT}[into_a_spool_that_stands-fail]",
    ),
    Fault(
        "a job is claimed by looking and then copying",
        "spool/queue.py",
        "            files.move(source, self.paths.taken(folder, entry[1], -entry[0]))\n",
        "            data = files.read_bytes(source)\n"
        "            files.write_bytes_once(self.paths.taken(folder, entry[1], -entry[0]), data, self.paths.tmp)\n"
        "            files.discard(source)\n",
        f"{RACES}::test_sixteen_dispatchers_share_ten_thousand_jobs_and_none_is_taken_twice",
    ),
    Fault(
        "a claim is withdrawn by looking and then removing",
        "spool/queue.py",
        "            files.move(claim, aside)\n",
        "            files.read_bytes(claim)\n            files.discard(claim)\n",
        f"{RACES}::test_a_start_and_a_withdrawal_of_one_claim_never_both_succeed",
    ),
    Fault(
        "a second result overwrites the first",
        "spool/queue.py",
        "            files.write_once(self.paths.result(job_id, attempt), result, self.paths.tmp)\n",
        "            files.replace(self.paths.result(job_id, attempt), result, self.paths.tmp)\n",
        f"{RACES}::test_of_many_results_one_stands",
    ),
    Fault(
        "the end of the go-pipe is taken for a go",
        "runner/nursery.py",
        "        if os.read(go_fd, 1) == GO:\n",
        "        if os.read(go_fd, 1) in (GO, b''):\n",
        f"{RUNNER}::test_without_a_go_nothing_runs",
    ),
    Fault(
        "a runner starts without renaming its claim",
        "runner/run.py",
        "        return None if spool.start(job_id, request.host, request.attempt) else",
        "        return None if job_id else",
        f"{RUNNER_KILLED}[0]",
    ),
    Fault(
        "a runner does not look whether the claim is its own",
        "runner/run.py",
        '    if claim["runner"] != {',
        '    if not claim["runner"] and claim["runner"] != {',
        f"{RUNNER}::test_a_start_that_is_not_ours_runs_nothing",
    ),
    Fault(
        "a job is put away before its result stands",
        "runner/result.py",
        '    _patiently(lambda: spool.write_result(entry[1], result, result["attempt"]), journal)\n'
        '    _patiently(lambda: spool.finish(entry, host, str(result["ended_at"])), journal)\n',
        '    _patiently(lambda: spool.finish(entry, host, str(result["ended_at"])), journal)\n'
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
        "spool/files.py",
        '        raise failed("look at", path, error) from None\n',
        "        return error is None\n",
        f"{BAD_MOMENTS}::test_whether_a_job_has_started_or_ended_is_not_guessed",
    ),
    Fault(
        "what cannot be read now is taken for damaged",
        "spool/files.py",
        '    return failed("read", path, error)\n\n\n# These say',
        '    return UnreadableFile(f"{path}: {error.strerror}")\n\n\n# These say',
        f"{BAD_MOMENTS}::test_a_job_whose_spec_cannot_be_read_now_goes_on_waiting",
    ),
)
