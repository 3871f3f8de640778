"""Real runs of the built-in trainer for tests: a model so small that a step takes milliseconds."""

from __future__ import annotations

import copy
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.document import Document
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths
from tests.waiting import wait_until
from tests.warm import OPTIONS, Interpreter, Program

ROOT = Path(__file__).parent.parent.parent
TEXT = "".join(f"{number} times {number} is {number * number}, and so on.\n" for number in range(70))
IMPORTS = (
    "torch.utils.tensorboard",
    "transformers.trainer",
    "transformers.models.gpt2.modeling_gpt2",
    "forgather_spool.training.lm",
)
SAID_BEFORE_IMPORTS = {  # by the trainer itself
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_WAIT_POLICY": "PASSIVE",
}  # fmt: skip
STARTING_S = 600  # torch and transformers are slow to import on a busy machine


def config(folder: Path, **args: Any) -> dict[str, Any]:
    """A byte-level GPT-2 of two layers: eight steps an epoch, dropout on, so that random states matter."""
    text = folder / "text.txt"
    text.write_text(TEXT)
    shape = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 32}
    steady = {"per_device_train_batch_size": 8, "logging_steps": 1, "lr_scheduler_type": "constant"}
    train = {
        "model": {"config": shape}, "tokenizer": {"kind": "byte"}, "data": {"text": [str(text)]},
        "block_size": 32, "seed": 3, "args": steady | {"learning_rate": 1e-3} | args,
    }  # fmt: skip
    return {"name": "tiny", "output_dir": str(folder / "out"), "train": train}


def with_change(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy in which ``train.<path>`` is `value`."""
    changed = copy.deepcopy(document)
    *parents, last = path.split(".")
    place = changed["train"]
    for name in parents:
        place = place[name]
    place[last] = value
    return changed


def _inherited() -> dict[str, str]:
    left = {name: value for name, value in os.environ.items() if not name.startswith("FORGATHER_")}
    return left | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@functools.cache
def _interpreter() -> Interpreter:
    return Interpreter(IMPORTS, _inherited() | SAID_BEFORE_IMPORTS)


class Ranks:
    """The programs of one run, as torchrun tells them of each other. As much of a Popen as `Run` needs."""

    def __init__(self, begin: Callable[[dict[str, str]], Program], ranks: int) -> None:
        """`begin` starts a rank from what its environment has in addition."""
        from torch.distributed import TCPStore

        self._store = TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False
        )  # on a free port, for all of them
        world = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        world |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        self._programs = [begin(world | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(ranks)]

    def wait(self, timeout: float | None = None) -> int:
        """Zero, or the first failure's exit code."""
        return next(filter(None, [program.wait(timeout) for program in self._programs]), 0)

    def poll(self) -> int | None:
        codes = [program.poll() for program in self._programs]
        return None if None in codes else next(filter(None, codes), 0)

    def kill(self) -> None:
        for program in self._programs:
            program.kill()


class Run:
    """The trainer as a process in `folder`. It says what the test asks, and can be asked by its mailbox.

    It is begun without the seconds its imports take (`tests.warm` tells how), `ranks` of it if there are several;
    with `torchrun` by that, for as many.
    """

    def __init__(
        self, folder: Path, document: dict[str, Any], *words: str, ranks: int = 1, torchrun: int = 0, attempt: int = 1
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(document))
        self.out = Path(document["output_dir"])
        self.mailbox = Mailbox(Paths(str(folder / "home")), "lm", attempt)
        ours = {"FORGATHER_HOME": str(folder / "home"), "FORGATHER_JOB_ID": "lm", "FORGATHER_ATTEMPT": str(attempt)}
        module = ["-m", "forgather_spool.training.lm", str(folder / "config.json"), *words]
        self._output = folder / "output.txt"
        with self._output.open("ab") as output:

            def begin(more: dict[str, str]) -> Program:
                argv, env, fd = [sys.executable, *OPTIONS, *module], _inherited() | ours | more, output.fileno()
                program = _interpreter().begin(argv, env, fd, fd, str(folder))
                program.go()
                return program

            if torchrun:
                launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={torchrun}"]
                argv, env = [sys.executable, *launcher, *module], _inherited() | ours
                self.process: Any = subprocess.Popen(
                    argv, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True
                )
            else:
                self.process = Ranks(begin, ranks) if ranks > 1 else begin({})

    @property
    def output(self) -> str:
        return self._output.read_text()

    def end(self) -> int:
        """The exit code, once it has ended."""
        try:
            code: int = self.process.wait(timeout=STARTING_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it has not ended after {STARTING_S} s, and wrote:\n{self.output}")
        return code

    def ended_well(self) -> Run:
        assert self.end() == 0, self.output
        return self

    def step(self) -> int:
        status: Any = self.mailbox.status() or {}
        return status.get("global_step") or 0

    def wait_for_step(self, step: int) -> Run:
        wait_until(
            lambda: self.step() >= step or self.process.poll() is not None, timeout_s=STARTING_S, what=f"step {step}"
        )
        assert self.process.poll() is None, self.output
        return self

    def ask(self, command: str) -> Any:
        """The acknowledgement of `command`."""
        command_id = self.mailbox.post(command, by="a test")
        found: Document | None = wait_until(
            lambda: self.mailbox.acknowledgement(command_id), timeout_s=STARTING_S, what=f"an answer to {command}"
        )
        return found

    def checkpoints(self) -> set[str]:
        return {path.name for path in self.out.glob("checkpoint-*")}

    def records(self) -> list[dict[str, Any]]:
        """What the newest of its runs logged."""
        newest = max((self.out / "runs").iterdir(), key=lambda path: (path / "run.json").stat().st_mtime_ns)
        found: list[dict[str, Any]] = json.loads((newest / "trainer_logs.json").read_text())
        return found

    def losses(self) -> dict[int, float]:
        return {record["global_step"]: record["loss"] for record in self.records() if "loss" in record}

    def kill(self) -> None:
        if self.process.poll() is None:
            if isinstance(self.process, subprocess.Popen):
                os.killpg(self.process.pid, signal.SIGKILL)  # torchrun, and what it started
            else:
                self.process.kill()
            self.process.wait()
