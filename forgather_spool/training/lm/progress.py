"""How far it is: a bar on a terminal, else a line about every second."""

from __future__ import annotations

import sys
import time
from typing import Any

from transformers import TrainerCallback

LINE_EVERY_S = 1.0


class Progress(TrainerCallback):  # type: ignore[misc]
    """Says on stdout where the run is. For rank 0."""

    def __init__(self) -> None:
        self._loss = "-"
        self._rate = "-"
        self._bar: Any = None
        self._last_s = 0.0
        self._last_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._last_s, self._last_step = time.monotonic(), state.global_step
        if sys.stdout.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=state.max_steps, initial=state.global_step, file=sys.stdout, dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)
        elif time.monotonic() - self._last_s >= LINE_EVERY_S:
            self._line(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        logs = logs or {}
        if "loss" in logs:
            self._loss = f"{logs['loss']:.4g}"
        if "learning_rate" in logs:
            self._rate = f"{logs['learning_rate']:.1e}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {self._loss}  lr {self._rate}", refresh=False)
        if "eval_loss" in logs:
            self._say(f"step {state.global_step}/{state.max_steps}  eval_loss {logs['eval_loss']:.4g}")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._last_s, self._last_step = time.monotonic(), state.global_step  # saving is not slow training

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        elif state.global_step > self._last_step:
            self._line(state)

    def _line(self, state: Any) -> None:
        now_s = time.monotonic()
        speed = (state.global_step - self._last_step) / max(now_s - self._last_s, 1e-9)
        self._last_s, self._last_step = now_s, state.global_step
        where = f"step {state.global_step}/{state.max_steps}"
        self._say(f"{where}  loss {self._loss}  lr {self._rate}  {speed:.1f} it/s")

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=sys.stdout)
        else:
            print(line, flush=True)
