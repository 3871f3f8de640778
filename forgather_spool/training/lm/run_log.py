"""What one run leaves behind: ``<output_dir>/runs/<run_id>/``.

trainer_logs.json is a list of {timestamp, global_step, epoch, loss, ...};
run.json says what was run. A run never fails because its log does: what
cannot be written is one warning.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from transformers import TrainerCallback

from forgather_spool.trainer.warn import warn_once as warn

WRITE_EVERY_S = 1.0
AT_MOST_SHARE = 0.02  # of the time goes into writing: the file is written whole, and grows


class RunLog(TrainerCallback):  # type: ignore[misc]
    """Collects what the Trainer logs and writes it at most once a second, and at the end. For rank 0."""

    def __init__(self, folder: str, facts: dict[str, Any]) -> None:
        self._folder = folder
        self._facts = facts
        self._records: list[str] = []
        self._next_write_s = 0.0
        self._able = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        facts = self._facts | {"started_at": _now(), "max_steps": state.max_steps, "start_step": state.global_step}
        self._write("run.json", json.dumps(facts, indent=1))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        numbers = {name: _plain(value) for name, value in (logs or {}).items() if isinstance(value, (int, float))}
        record = {"timestamp": time.time(), "global_step": state.global_step, "epoch": state.epoch} | numbers
        self._records.append(json.dumps(record))
        if time.monotonic() >= self._next_write_s:
            self.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.flush()

    def flush(self) -> None:
        """Write what was logged so far."""
        began_s = time.monotonic()
        self._write("trainer_logs.json", "[\n" + ",\n".join(self._records) + "\n]\n")
        ended_s = time.monotonic()
        self._next_write_s = ended_s + max(WRITE_EVERY_S, (ended_s - began_s) / AT_MOST_SHARE)

    def _write(self, name: str, text: str) -> None:
        path = f"{self._folder}/{name}"
        try:
            os.makedirs(self._folder, exist_ok=True)
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(f"{path}.new", path)
            self._able = True
        except OSError as error:
            if self._able:
                warn(f"the log of this run cannot be written: {error}")
            self._able = False


def new_run_id(output_dir: str) -> str:
    """The time of day it starts at, and a number where two start in one second."""
    stamp = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    number = 1
    run_id = stamp
    while os.path.exists(f"{output_dir}/runs/{run_id}"):
        number += 1
        run_id = f"{stamp}-{number}"
    return run_id


def _plain(value: float) -> float | str:
    """JSON has no NaN: "nan", as the trainer's status has it; `float` reads it."""
    return value if isfinite(value) else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
