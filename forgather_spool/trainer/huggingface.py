"""Control for the Hugging Face `Trainer`: add one callback, change nothing else.

    from forgather_spool.trainer import TrainerControlCallback
    Trainer(..., callbacks=[TrainerControlCallback()])

It sets the library's own control flags at the end of a step, in every rank at
the same one, and works under `accelerate` and `torchrun`.
"""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerCallback

from forgather_spool.trainer.control import TrainerControl


class TrainerControlCallback(TrainerCallback):  # type: ignore[misc]
    """Takes commands while `Trainer.train` runs.

    Args:
        job_id: names the run; default the queue's id, else one made up.
        port: of the HTTP endpoint; default the first free one from 8900.
        enable_http: None: where aiohttp is installed. Files work in any case.
        on_sigterm: e.g. "save_and_stop": what `job kill` and a time limit mean to this run.
        host: the address the endpoint is bound to.
    """

    def __init__(
        self,
        job_id: str | None = None,
        port: int | None = None,
        enable_http: bool | None = None,
        *,
        on_sigterm: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._options: dict[str, Any] = {
            "job_id": job_id, "port": port, "enable_http": enable_http, "on_sigterm": on_sigterm, "host": host,
        }  # fmt: skip
        self.control: TrainerControl | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.control = TrainerControl(
            max_steps=state.max_steps,
            output_dir=args.output_dir,
            logging_dir=getattr(args, "logging_dir", None),
            save_on_stop=_value(args.save_strategy) != "no",
            **self._options,
        )
        self.control.report(epoch=state.epoch)
        self.control.step = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        ours = self.control
        if ours is None or not ours.poll(state.global_step):
            return
        control.should_training_stop = control.should_training_stop or ours.should_stop
        if ours.should_abort:
            self._never_save(control)
            return
        control.should_save = control.should_save or ours.should_save
        if ours.should_evaluate and args.load_best_model_at_end and _value(args.eval_strategy) != "no":
            control.should_evaluate = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.control is not None and self.control.should_abort:
            self._never_save(control)  # the strategy "epoch" would save here, also after an abort

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.control is not None:
            self.control.saved(os.path.join(args.output_dir, f"checkpoint-{state.global_step}"))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.control is not None:
            numbers = {k: v for k, v in (logs or {}).items() if isinstance(v, (int, float)) and k != "epoch"}
            self.control.report(numbers, epoch=state.epoch)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.control is not None:
            self.control.close()

    def _never_save(self, control: Any) -> None:
        control.should_save = False
        control.should_evaluate = False


def _value(strategy: Any) -> str:
    return str(getattr(strategy, "value", strategy))
