"""Real runs of the built-in trainer for tests: a model so small that a step takes milliseconds."""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from forgather_spool.document import Document
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths
from tests.waiting import wait_until
from tests.warm import OPTIONS, Interpreter

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
STARTING_S = 120  # torch and transformers are slow to import on a busy machine


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


class Run:
    """The trainer as a process in `folder`. It says what the test asks, and can be asked by its mailbox.

    As one rank it is begun without the seconds its imports take; `tests.warm` tells how.
    """

    def __init__(self, folder: Path, document: dict[str, Any], *words: str, ranks: int = 1, attempt: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(document))
        self.out = Path(document["output_dir"])
        self.mailbox = Mailbox(Paths(str(folder / "home")), "lm", attempt)
        ours = {"FORGATHER_HOME": str(folder / "home"), "FORGATHER_JOB_ID": "lm", "FORGATHER_ATTEMPT": str(attempt)}
        module = ["-m", "forgather_spool.training.lm", str(folder / "config.json"), *words]
        self._output = folder / "output.txt"
        with self._output.open("ab") as output:
            if ranks == 1:
                argv, fd = [sys.executable, *OPTIONS, *module], output.fileno()
                self.process: Any = _interpreter().begin(argv, _inherited() | ours, fd, fd, str(folder))
                self.process.go()
            else:
                torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
                argv = [sys.executable, *torchrun, *module]
                self.process = subprocess.Popen(argv, cwd=folder, env=_inherited() | ours, stdout=output, stderr=output)

    @property
    def output(self) -> str:
        return self._output.read_text()

    def end(self) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(timeout=STARTING_S)

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
            self.process.kill()
            self.process.wait()
