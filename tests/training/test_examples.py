"""The examples under control, as real processes: what their readers will copy has to work."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgather_spool import trainer_control
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SLOWLY_S = 600  # importing these libraries on a busy machine takes a while


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}, which is not installed")


class Run:
    """One example, running in `folder`."""

    def __init__(self, folder: Path, command: list[str], **env: str) -> None:
        self.folder = folder
        self.home = str(folder / "home")
        self.mailbox = Mailbox(Paths(self.home), "example")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FORGATHER_")}
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=inherited
                | {"FORGATHER_HOME": self.home, "FORGATHER_JOB_ID": "example", "PYTHONPATH": str(ROOT)}
                | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
                | env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for_step(self, step: int = 1) -> Run:
        def reached() -> bool:
            assert self.process.poll() is None, self.said()
            status = self.mailbox.status()
            return status is not None and int(str(status["global_step"] or 0)) >= step

        wait_until(reached, SLOWLY_S, f"step {step}")
        return self

    def ask(self, command: str, *, timeout_s: float = SLOWLY_S) -> trainer_control.ControlResponse:
        return trainer_control.send("example", command, home=self.home, timeout_s=timeout_s)

    def step(self) -> int:
        status = self.mailbox.status()
        return 0 if status is None else int(str(status["global_step"] or 0))

    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> int:
        return self.process.wait(timeout=SLOWLY_S)

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(*command: str, **env: str) -> Run:
        runs.append(Run(tmp_path, list(command), **env))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


def script(name: str) -> str:
    return str(EXAMPLES / name / "train.py")


SINGLE = [
    pytest.param([sys.executable, script("plain-loop"), "--steps", "1000000"], marks=needs("torch"), id="plain-loop"),
    pytest.param(
        [sys.executable, script("huggingface"), "--steps", "100000", "--save-strategy", "epoch"],
        marks=needs("torch", "transformers", "accelerate"),
        id="huggingface",
    ),
    pytest.param(
        [sys.executable, script("lightning"), "--epochs", "100000"], marks=needs("torch", "lightning"), id="lightning"
    ),
]


@pytest.mark.parametrize("command", SINGLE)
def test_an_example_answers_saves_and_stops(start: Callable[..., Run], command: list[str]) -> None:
    """Each answer comes when it is done, and names a checkpoint that is there."""
    run = start(*command).wait_for_step()

    status = run.ask("status")
    first = run.ask("save_checkpoint")
    again = run.ask("save_checkpoint")
    last = run.ask("graceful_stop")

    assert (status.outcome, first.outcome, again.outcome, last.outcome) == ("done",) * 4, (first, last, run.said())
    assert status.data["global_step"] >= 1
    steps = [int(str(answer.acknowledgement["step"])) for answer in (first, again, last)]
    assert steps == sorted(set(steps))
    for answer in (first, again, last):
        assert Path(str(answer.acknowledgement["checkpoint"])).exists()
    assert run.ended() == 0


@pytest.mark.parametrize("command", SINGLE)
def test_an_aborted_example_leaves_no_checkpoint(start: Callable[..., Run], command: list[str]) -> None:
    """Not by command, not by its own strategy at the end of the epoch, not at the end of training."""
    run = start(*command).wait_for_step()
    before = sorted(run.folder.rglob("*checkpoint-*")) + sorted(run.folder.rglob("*.ckpt"))

    assert run.ask("abort").outcome == "done"

    assert run.ended() == 0
    at = run.step()
    after = sorted(run.folder.rglob("*checkpoint-*")) + sorted(run.folder.rglob("*.ckpt"))
    assert [path for path in after if path not in before and str(at) in path.name] == []


@pytest.mark.parametrize("command", SINGLE)
def test_a_killed_example_saves_first(start: Callable[..., Run], command: list[str]) -> None:
    """`job kill`, a time limit and a shutdown all begin with SIGTERM."""
    run = start(*command).wait_for_step()

    run.process.send_signal(signal.SIGTERM)

    assert run.ended() == 0
    saved = [*run.folder.rglob("*.pt"), *run.folder.rglob("checkpoint-*"), *run.folder.rglob("*.ckpt")]
    assert saved, run.said()


def acted(run: Run) -> dict[int, list[str]]:
    """What each rank of the two-ranks example says it did, by rank."""
    found: dict[int, list[str]] = {0: [], 1: []}
    pattern = r"rank (\d) at (step \d+: save=(?:True|False) stop=(?:True|False))"
    for rank, what in re.findall(pattern, run.said()):  # two processes share the log: line ends may come late
        found[int(rank)].append(what)
    return found


@needs("torch")
@pytest.mark.parametrize("slow_s", ["0", "0.02"], ids=["even", "one-slow"])
def test_all_ranks_act_at_the_same_step(start: Callable[..., Run], slow_s: str) -> None:
    """However unevenly they come to it; a save there contains a barrier that would hang otherwise."""
    command = [*TORCHRUN, script("two-ranks"), "--steps", "1000000", "--slow-rank-s", slow_s]
    run = start(*command).wait_for_step(5)

    answers = [run.ask(command) for command in ("save_checkpoint", "save_checkpoint", "status", "save_and_stop")]

    assert [answer.outcome for answer in answers] == ["done"] * 4, run.said()
    assert run.ended() == 0
    ranks = acted(run)
    assert ranks[0] == ranks[1]
    assert len(ranks[0]) == 3
    assert [f"step {a.acknowledgement['step']}:" for a in answers if a.command != "status"] == [
        what.partition(" save")[0] for what in ranks[0]
    ]


@needs("torch")
def test_two_ranks_abort_together(start: Callable[..., Run]) -> None:
    run = start(*TORCHRUN, script("two-ranks"), "--steps", "1000000").wait_for_step(5)

    assert run.ask("abort").outcome == "done"

    assert run.ended() == 0
    ranks = acted(run)
    assert ranks[0] == ranks[1] != []
    assert not list(run.folder.rglob("*.pt"))


@needs("torch")
def test_a_rank_that_has_ended_early_is_not_waited_for(start: Callable[..., Run]) -> None:
    """Uneven data: rank 1 has left after 20 steps, and rank 0 still takes commands."""
    run = start(*TORCHRUN, str(ROOT / "tests" / "scripts" / "uneven_ranks.py"))
    wait_until(lambda: "rank 1 has left" in run.said(), SLOWLY_S, run.said())

    answer = run.ask("save_checkpoint")

    assert answer.outcome == "done", (answer, run.said())
    assert run.ask("graceful_stop").outcome == "done"
    assert run.ended() == 0


@needs("torch")
def test_commands_to_a_killed_rank_zero_are_answered_by_whoever_looks(start: Callable[..., Run]) -> None:
    run = start(*TORCHRUN, script("two-ranks"), "--steps", "1000000").wait_for_step(5)
    pid = trainer_control.list_jobs(home=run.home)[0].pid
    os.kill(pid, signal.SIGSTOP)
    command_id = run.mailbox.post("save_checkpoint", by="test")
    os.kill(pid, signal.SIGKILL)
    run.process.wait(timeout=SLOWLY_S)

    assert trainer_control.list_jobs(home=run.home) == []

    answer = run.mailbox.acknowledgement(command_id)
    assert answer is not None and answer["outcome"] == "failed"


@needs("torch", "transformers", "accelerate")
def test_hugging_face_on_two_ranks(start: Callable[..., Run]) -> None:
    run = start(*TORCHRUN, script("huggingface"), "--steps", "100000").wait_for_step()

    saved = run.ask("save_checkpoint")
    stopped = run.ask("save_and_stop")

    assert (saved.outcome, stopped.outcome) == ("done", "done"), run.said()
    assert run.ended() == 0
    ends = re.findall(r"ended at step (\d+)", run.said())
    assert len(ends) == 2 and len(set(ends)) == 1
