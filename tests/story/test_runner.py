"""A runner takes its start, runs the command, and leaves a result, whatever the command does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.host import proc
from forgather_spool.outcome import Cancelled, Exited, Killed, Refused, TimedOut
from forgather_spool.runner.client import Hatched
from forgather_spool.runner.ready import make_ready
from forgather_spool.runner.rehearsal import rehearse
from forgather_spool.runner.request import Request
from tests.story.bench_of_runners import Bench, claim_naming, ended
from tests.waiting import wait_until

IGNORES_TERM = "trap '' TERM; echo up > up; while :; do sleep 0.1; done"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.end()


def is_gone(pid: int) -> bool:
    return proc.start_ticks(pid) is None


def steps_of(result: Any) -> list[str]:
    return [step["did"] for step in result.document["steps"]]


# -- ends ---------------------------------------------------------------------------------------------------------


def test_the_exit_code_is_the_outcome(bench: Bench) -> None:
    assert bench.outcome("exit 3") == Exited(3)
    assert bench.outcome(["true"]) == Exited(0)


def test_a_signal_nobody_asked_us_for_is_the_outcome(bench: Bench) -> None:
    assert bench.outcome("kill -SEGV $$") == Killed(signal.SIGSEGV)


def test_the_result_says_when_and_how_much(bench: Bench) -> None:
    result = bench.run("echo four; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")

    assert result.started_at is not None and result.started_at < result.ended_at
    assert result.document["output_bytes"] == 5
    assert result.document["output_lost_bytes"] == 0
    assert result.document["cpu_s"] > 0
    assert result.document["peak_memory_bytes"] > 0


def test_while_it_runs_its_process_is_named(bench: Bench) -> None:
    entry, _ = bench.launch("echo $$ > pid; exec sleep 60")
    pid = int(bench.wait_for("pid"))
    path = Path(bench.spool.paths.process(entry[1], 1))
    wait_until(path.exists)

    assert f'"pid": {pid}' in path.read_text()
    os.kill(pid, signal.SIGINT)

    assert bench.result(entry).outcome == Killed(signal.SIGINT)


# -- stopping -----------------------------------------------------------------------------------------------------


def test_a_time_limit_stops_it(bench: Bench) -> None:
    """Also a job that exits 0 then was stopped by its limit; its exit code is kept beside."""
    result = bench.run("trap 'exit 0' TERM; while :; do sleep 0.05; done", time_limit_s=0.3)

    assert result.outcome == TimedOut(0.3)
    assert result.document["outcome"]["exit_code"] == 0
    assert "limit of 0.3 s" in steps_of(result)[0]


def test_a_stop_gives_it_time_to_save(bench: Bench) -> None:
    entry, _ = bench.launch("trap 'echo saved; exit 0' TERM; echo up > up; while :; do sleep 0.05; done")
    bench.wait_for("up")

    bench.spool.ask_to_stop(entry[1], by="me")

    result = bench.result(entry)
    assert result.outcome == Cancelled("me")
    assert result.document["outcome"]["exit_code"] == 0
    assert bench.output(entry).endswith(b"saved\n")


def test_a_job_that_ignores_term_is_killed_after_its_grace(bench: Bench) -> None:
    entry, _ = bench.launch(IGNORES_TERM, grace_s=3600)
    bench.wait_for("up")

    bench.spool.ask_to_stop(entry[1], by="me", grace_s=0.2)

    result = bench.result(entry)
    assert result.outcome == Cancelled("me")
    assert result.document["outcome"]["signal"] == signal.SIGKILL
    assert [step.split()[0] for step in steps_of(result)] == ["TERM", "KILL"]


def test_force_kills_at_once_also_during_the_grace(bench: Bench) -> None:
    entry, _ = bench.launch(IGNORES_TERM, grace_s=3600)
    bench.wait_for("up")
    bench.spool.ask_to_stop(entry[1], by="me")

    bench.spool.ask_to_stop(entry[1], by="somebody impatient", force=True)

    result = bench.result(entry)
    assert result.outcome == Cancelled("me")
    assert result.document["outcome"]["signal"] == signal.SIGKILL


def test_a_stop_asked_for_before_the_command_began_stops_it(bench: Bench) -> None:
    entry = bench.take("exec sleep 60")
    hatched = bench.hatch(entry)
    bench.spool.ask_to_stop(entry[1], by="me")

    bench.nursery.go(hatched)

    assert bench.result(entry).outcome == Cancelled("me")


def test_a_stopped_process_is_woken_to_hear_term(bench: Bench) -> None:
    entry, _ = bench.launch("echo $$ > pid; trap 'echo heard; exit 1' TERM; kill -STOP $$; sleep 60", grace_s=3600)
    pid = int(bench.wait_for("pid"))
    wait_until(lambda: " T " in Path(f"/proc/{pid}/stat").read_text())

    bench.spool.ask_to_stop(entry[1], by="me")

    bench.result(entry)
    assert bench.output(entry).endswith(b"heard\n")


def test_the_service_managers_term_is_a_stop_and_the_second_one_changes_nothing(bench: Bench) -> None:
    """`systemctl stop` signals the runner too: it stays until the result is written."""
    entry, hatched = bench.launch("trap 'sleep 0.3; exit 7' TERM; echo up > up; while :; do sleep 0.05; done")
    bench.wait_for("up")

    os.kill(hatched.pid, signal.SIGTERM)
    os.kill(hatched.pid, signal.SIGTERM)

    result = bench.result(entry)
    assert isinstance(result.outcome, Cancelled)
    assert result.document["outcome"]["exit_code"] == 7


# -- who is left --------------------------------------------------------------------------------------------------


def test_what_the_command_leaves_behind_is_ended(bench: Bench) -> None:
    """A background child that holds the output does not hold up the end, and the outcome is the command's own."""
    entry, _ = bench.launch("sleep 300 & echo $! > child; exit 4")

    result = bench.result(entry)

    assert result.outcome == Exited(4)
    assert is_gone(int(bench.wait_for("child")))
    assert steps_of(result) == ["TERM to 1 process: left by the command that has ended"]


def test_a_stop_after_the_command_has_ended_changes_no_outcome_and_hastens_only_with_force(bench: Bench) -> None:
    left = "(trap '' TERM; echo up > up; exec sleep 600) & until [ -s up ]; do sleep 0.01; done"
    entry, _ = bench.launch(f"{left}; echo $$ > pid; exit 3", grace_s=600)
    pid = int(bench.wait_for("pid"))
    wait_until(lambda: is_gone(pid))

    bench.spool.ask_to_stop(entry[1], by="anna")
    bench.spool.ask_to_stop(entry[1], by="anna", force=True)

    result = bench.result(entry)
    assert result.outcome == Exited(3)
    assert steps_of(result)[-1] == "KILL to 1 process: asked by anna"


def test_a_child_that_is_told_its_job_first_needs_no_more_than_its_go(bench: Bench) -> None:
    """So does a dispatcher while a scope comes up."""
    entry = bench.take("exit 3")
    hatched = bench.hatch(entry)

    bench.nursery.tell(hatched)
    assert hatched.is_told
    bench.nursery.go(hatched)

    assert bench.result(entry).outcome == Exited(3)


def test_a_daemon_is_ended_too(bench: Bench) -> None:
    """Twice forked and in its own session, deaf to TERM: it is the runner's child by then."""
    daemon = "setsid sh -c 'trap \"\" TERM; echo $$ > daemon; while :; do sleep 0.1; done' >/dev/null 2>&1 &"
    entry, _ = bench.launch(f"({daemon}) ; while [ ! -s daemon ]; do sleep 0.02; done; exit 0", grace_s=0.2)

    result = bench.result(entry)

    assert result.outcome == Exited(0)
    assert is_gone(int(bench.wait_for("daemon")))
    assert any(step.startswith("KILL") for step in steps_of(result))


def test_orphans_are_reaped_while_the_job_runs(bench: Bench) -> None:
    entry, _ = bench.launch("(sleep 0 & echo $! > orphan); echo up > up; exec sleep 60")
    orphan = int(bench.wait_for("orphan"))

    wait_until(lambda: is_gone(orphan), what="the orphan to be reaped")

    bench.spool.ask_to_stop(entry[1], by="me", force=True)
    bench.result(entry)


def test_no_runner_stays_after_its_result(bench: Bench) -> None:
    entry, hatched = bench.launch("true")
    bench.result(entry)

    wait_until(lambda: ended(hatched))


# -- refused ------------------------------------------------------------------------------------------------------


def reason(bench: Bench, command: Any, **spec: Any) -> str:
    outcome = bench.outcome(command, **spec)
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


def test_a_missing_directory_is_refused_by_name(bench: Bench) -> None:
    assert reason(bench, "true", cwd="/nowhere/at/all") == "its directory /nowhere/at/all is not there"


def test_a_missing_command_is_refused_by_name(bench: Bench) -> None:
    assert "'no-such-command' is not in the job's PATH" in reason(bench, ["no-such-command"])
    assert reason(bench, ["./nothing"]).endswith("/./nothing is not there")


def test_a_file_that_is_not_executable_is_refused_with_the_cure(bench: Bench) -> None:
    (bench.folder / "train.sh").write_text("#!/bin/sh\n")

    assert "chmod +x" in reason(bench, ["./train.sh"])


def test_a_script_without_a_first_line_is_refused_and_says_so(bench: Bench) -> None:
    script = bench.folder / "train.sh"
    script.write_text("echo hello\n")
    script.chmod(0o755)

    assert "#!/bin/sh" in reason(bench, ["./train.sh"])


def test_a_script_whose_interpreter_is_missing_says_so(bench: Bench) -> None:
    script = bench.folder / "train.py"
    script.write_text("#!/nowhere/python\n")
    script.chmod(0o755)

    assert "interpreter" in reason(bench, ["./train.py"])


def test_the_command_is_looked_up_in_the_jobs_own_path(bench: Bench) -> None:
    tool = bench.folder / "bin" / "my-tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)

    assert bench.outcome(["my-tool"], env={"PATH": f"{tool.parent}:/bin"}) == Exited(9)


def test_a_script_in_the_spec_runs_in_place_of_the_command(bench: Bench) -> None:
    entry, _ = bench.launch(["train", "a b"], script='#!/bin/sh\necho "script: $1"\n')

    assert bench.result(entry).outcome == Exited(0)
    assert bench.output(entry) == b"script: a b\n"


# -- what runs nothing --------------------------------------------------------------------------------------------


def test_without_a_go_nothing_runs(bench: Bench) -> None:
    """The end of the pipe is what a child sees of a dispatcher that died."""
    entry = bench.take("echo ran > ran")
    hatched = bench.hatch(entry)

    bench.nursery.abandon(hatched)

    wait_until(lambda: ended(hatched))
    assert not bench.spool.has_started(entry[1])
    assert not (bench.folder / "ran").exists()


def test_a_dispatcher_that_is_killed_takes_its_waiting_children_along(bench: Bench) -> None:
    """No other process holds the write end of a go-pipe: not the nursery, not a running job, not another child."""
    running, _ = bench.launch("echo up > up; exec sleep 60")
    bench.wait_for("up")
    waiting = bench.hatch(bench.take())
    other = bench.hatch(bench.take())

    os.close(waiting.go_fd)  # as the kernel does for a dead dispatcher

    wait_until(lambda: ended(waiting))
    assert not ended(other)
    bench.nursery.abandon(other)
    bench.spool.ask_to_stop(running[1], by="me", force=True)
    bench.result(running)


@pytest.mark.parametrize("spoil", ["withdrawn", "another's", "put back"])
def test_a_start_that_is_not_ours_runs_nothing(bench: Bench, spoil: str) -> None:
    entry = bench.take("echo ran > ran")
    hatched = bench.hatch(entry)
    if spoil == "withdrawn":
        assert bench.spool.withdraw_claim(entry[1])
    elif spoil == "another's":
        assert bench.spool.withdraw_claim(entry[1])
        bench.nursery.abandon(bench.hatch(entry))
    else:
        bench.spool.put_back(entry, "box")

    bench.nursery.go(hatched)

    wait_until(lambda: ended(hatched))
    assert not bench.spool.has_started(entry[1])
    assert not bench.spool.has_result(entry[1])
    assert not (bench.folder / "ran").exists()


@pytest.mark.parametrize("spoil", ["withdrawn", "another's", "put back"])
def test_a_start_that_was_ours_while_we_made_ready_is_looked_at_again(bench: Bench, spoil: str) -> None:
    """A scope may take long to come up, and its dispatcher may be gone meanwhile."""
    entry = bench.take()
    child = bench.hatch(entry, write_claim=False)
    me = Hatched(os.getpid(), proc.start_ticks(os.getpid()) or 0, -1)
    bench.spool.write_claim(entry[1], claim_naming(me, entry, "a scope").as_document())
    ready = make_ready(Request.from_bytes(child.request), bench.spool.paths.home)
    if spoil == "put back":
        bench.spool.put_back(entry, "box")
    else:
        assert bench.spool.withdraw_claim(entry[1])
    if spoil == "another's":
        bench.spool.write_claim(entry[1], claim_naming(child, entry, "a scope").as_document())

    refusal = ready.take_start()

    bench.nursery.abandon(child)
    assert refusal is not None
    assert not bench.spool.has_started(entry[1])


def test_a_rehearsal_goes_through_what_a_start_needs_and_leaves_no_trace(bench: Bench, tmp_path: Path) -> None:
    """A child that has gone through it once is ready for its job in half of the time."""
    (tmp_path / "home" / "spool" / "queue" / "stays").touch()
    before = sorted(tmp_path.rglob("*"))
    gone_through: set[str] = set()

    sys.setprofile(lambda frame, event, arg: gone_through.add(frame.f_code.co_name) if event == "call" else None)
    rehearse(bench.spool.paths.home)
    sys.setprofile(None)

    assert gone_through >= {"from_bytes", "job_environment", "find_program", "take_start", "parse", "is_ours", "spawn"}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_rehearsal_needs_no_spool(tmp_path: Path) -> None:
    rehearse(str(tmp_path / "nowhere"))

    assert list(tmp_path.iterdir()) == []


# -- the nursery --------------------------------------------------------------------------------------------------


def test_a_killed_nursery_costs_no_job_and_is_started_again(bench: Bench) -> None:
    entry, _ = bench.launch("echo up > up; while [ ! -e finish ]; do sleep 0.02; done; exit 5")
    bench.wait_for("up")
    first = bench.nursery.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    assert bench.outcome("exit 6") == Exited(6)

    assert bench.nursery.pid != first
    (bench.folder / "finish").touch()
    assert bench.result(entry).outcome == Exited(5)


def test_the_nursery_ends_with_its_dispatcher(bench: Bench) -> None:
    program = (
        "from forgather_spool.runner.client import Nursery; import os\n"
        "nursery = Nursery('/nowhere'); nursery._start(); print(nursery.pid); os._exit(0)"
    )
    root = str(Path(__file__).resolve().parents[2])
    run = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)

    wait_until(lambda: is_gone(int(run.stdout)))


def test_a_child_that_cannot_read_what_it_is_told_ends_alone(bench: Bench) -> None:
    hatched = bench.nursery.hatch({"version": 99})

    bench.nursery.go(hatched)

    wait_until(lambda: ended(hatched))
    assert bench.outcome("exit 1") == Exited(1)


@pytest.mark.parametrize("untold", [1, 0])
def test_a_child_that_was_told_half_of_it_runs_nothing(bench: Bench, untold: int) -> None:
    """Its dispatcher was killed while it told, or before the go: the pipe ends too early."""
    entry = bench.take("touch ran")
    hatched = bench.hatch(entry)

    os.write(hatched.go_fd, hatched.request[: -untold or None])
    bench.nursery.abandon(hatched)

    wait_until(lambda: ended(hatched))
    assert not (bench.folder / "ran").exists()
    assert not bench.spool.has_started(entry[1])


def test_a_waiting_child_that_was_killed_is_replaced(bench: Bench) -> None:
    bench.nursery.prepare()
    assert bench.nursery.pid is not None
    wait_until(lambda: len(proc.children_of(bench.nursery.pid or 0)) == 1)
    (child,) = proc.children_of(bench.nursery.pid)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: is_gone(child))

    assert bench.outcome("exit 3") == Exited(3)


def test_ended_runners_leave_no_zombies(bench: Bench) -> None:
    hatched = [bench.hatch(bench.take()) for _ in range(5)]
    assert bench.nursery.pid is not None
    for child in hatched:
        bench.nursery.abandon(child)

    wait_until(lambda: proc.children_of(bench.nursery.pid or 0) == [])


# -- the job's surroundings ---------------------------------------------------------------------------------------


def test_a_job_inherits_nothing_of_the_service_manager(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("SECRET_OF_THE_DISPATCHER", "x")
    entry = bench.take(["cat", "/proc/self/environ"], env={"MINE": "1"})
    bench.nursery.go(bench.hatch(entry, cards=(2, 3)))
    bench.result(entry)

    found = dict(pair.split("=", 1) for pair in bench.output(entry).decode().split("\0") if pair)

    assert found == bench.env | {
        "MINE": "1",
        "FORGATHER_JOB_ID": entry[1],
        "FORGATHER_ATTEMPT": "1",
        "FORGATHER_HOME": bench.spool.paths.home,
        "FORGATHER_SCOPE": f"forgather-job-{entry[1]}-1.scope",
        "CUDA_VISIBLE_DEVICES": "GPU-2,GPU-3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "PYTHONUNBUFFERED": "1",
    }


def test_the_dispatchers_sockets_are_kept_from_nursery_and_runner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    entry, hatched = bench.launch("echo up > up; exec sleep 60")
    bench.wait_for("up")

    for pid in (bench.nursery.pid, hatched.pid):
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()

    bench.spool.ask_to_stop(entry[1], by="me", force=True)
    bench.result(entry)


def test_a_job_has_three_descriptors_and_no_more(bench: Bench) -> None:
    """Neither the spool nor a socket nor another job's pipe leaks into it."""
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    entry, _ = bench.launch("for n in $(seq 0 255); do [ -e /proc/$$/fd/$n ] && echo $n; done; readlink /proc/$$/fd/0")
    bench.result(entry)
    os.close(leak)

    assert bench.output(entry).decode().split() == ["0", "1", "2", "/dev/null"]


def test_a_job_starts_with_signals_as_the_kernel_made_them(bench: Bench) -> None:
    entry, _ = bench.launch(["cat", "/proc/self/status"])
    bench.result(entry)

    status = dict(line.split(":\t", 1) for line in bench.output(entry).decode().splitlines())

    ours = ~(0b11 << 31)  # 32 and 33 are the C library's own: no program can set them, and some parent had them so
    assert {int(status[mask], 16) & ours for mask in ("SigBlk", "SigIgn", "SigCgt")} == {0}


def test_the_kernel_would_take_the_job_before_its_runner(bench: Bench) -> None:
    entry, hatched = bench.launch("cat /proc/self/oom_score_adj > score; exec sleep 60")
    of_job = int(bench.wait_for("score"))

    of_runner = Path(f"/proc/{hatched.pid}/oom_score_adj")
    wait_until(lambda: int(of_runner.read_text()) < of_job, 30, "the runner's own score, which it lent to the job")

    bench.spool.ask_to_stop(entry[1], by="me", force=True)
    bench.result(entry)


def test_a_terminal_is_one(bench: Bench) -> None:
    """Output and error are a terminal of 24 by 80, the job's own, so that progress bars are drawn."""
    program = (
        "import os, sys\n"
        "print(sys.stdout.isatty(), sys.stderr.isatty(), sys.stdin.isatty())\n"
        "print(os.get_terminal_size(1), os.getsid(0) == os.getpid())\n"
        "print('to the terminal', file=open('/dev/tty', 'w'))\n"
    )
    entry, _ = bench.launch([sys.executable, "-c", program], tty=True)

    assert bench.result(entry).outcome == Exited(0)
    assert bench.output(entry).decode().splitlines() == [
        "True True False",
        "os.terminal_size(columns=80, lines=24) True",
        "to the terminal",
    ]


# -- in a control group -------------------------------------------------------------------------------------------


@pytest.fixture
def make_group() -> Iterator[Callable[[str], Path]]:
    """Makes a control group, as the service manager does for a scope."""
    root = proc.cgroup_root()
    if root is None or os.geteuid() != 0 or not os.access(root, os.W_OK):
        pytest.skip("making a control group needs root and a writable version 2 hierarchy")
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(Path(root) / name)
        made[-1].mkdir()
        return made[-1]

    yield make
    for group in made:
        wait_until(lambda: not (group / "cgroup.procs").read_text())  # noqa: B023
        group.rmdir()


def test_in_a_scope_its_control_group_says_who_belongs_to_the_job(
    bench: Bench, make_group: Callable[[str], Path]
) -> None:
    """A process that was put into the scope is ended with it; one that was taken out is let be, and not waited for."""
    entry = bench.take("sleep 300 & echo $! > out; echo up > up; while [ ! -e finish ]; do sleep 0.02; done; exit 2")
    hatched = bench.hatch(entry, host_kind="systemd")
    scope, elsewhere = make_group(f"forgather-job-{entry[1]}-1.scope"), make_group(f"forgather-test-{entry[1]}")
    (scope / "cgroup.procs").write_text(str(hatched.pid))
    bench.nursery.go(hatched)
    taken_out = int(bench.wait_for("out"))
    bench.wait_for("up")
    (elsewhere / "cgroup.procs").write_text(str(taken_out))
    put_in = subprocess.Popen(["sleep", "300"])
    (scope / "cgroup.procs").write_text(str(put_in.pid))

    (bench.folder / "finish").touch()
    result = bench.result(entry)

    assert result.outcome == Exited(2)
    assert result.document["cpu_s"] > 0
    assert put_in.wait(timeout=30) == -signal.SIGTERM
    assert proc.start_ticks(taken_out) is not None
    os.kill(taken_out, signal.SIGKILL)
