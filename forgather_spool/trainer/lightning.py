"""Control for a Lightning `Trainer`: add one callback, change nothing else.

    from forgather_spool.trainer import LightningControlCallback
    Trainer(..., callbacks=[LightningControlCallback()])

A step is an optimizer step (`trainer.global_step`), in every rank the same.
A stop saves where the trainer has a checkpoint callback; what is saved on
command lies beside that callback's own checkpoints.
"""

from __future__ import annotations

import os
from typing import Any

from forgather_spool.trainer.control import TrainerControl

try:
    from lightning.pytorch.callbacks import Callback, Checkpoint
except ImportError:
    from pytorch_lightning.callbacks import Callback, Checkpoint


class LightningControlCallback(Callback):  # type: ignore[misc]
    """Takes commands while `Trainer.fit` runs. Arguments as for `TrainerControlCallback`."""

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

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.control = TrainerControl(
            max_steps=trainer.max_steps if trainer.max_steps and trainer.max_steps > 0 else None,
            output_dir=trainer.default_root_dir,
            logging_dir=trainer.log_dir,
            save_on_stop=bool(trainer.checkpoint_callbacks),
            **self._options,
        )
        self.control.step = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        ours = self.control
        if ours is None or trainer.global_step == ours.step:
            return  # still gathering gradients for this step
        if not ours.poll(trainer.global_step):
            return
        if ours.should_save:
            self._save(trainer, ours)
        if ours.should_abort:
            trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, Checkpoint)]
        if ours.should_stop:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._report(trainer)

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step % max(1, trainer.log_every_n_steps) == 0:
            self._report(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.control is not None:
            self.control.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self.control is not None:
            self.control.save_failed(exception)
            self.control.close()

    def _report(self, trainer: Any) -> None:
        if self.control is not None:
            numbers = {name: float(value) for name, value in trainer.logged_metrics.items()}
            self.control.report(numbers, epoch=trainer.current_epoch)

    def _save(self, trainer: Any, ours: TrainerControl) -> None:
        path = os.path.join(_folder(trainer), f"step={trainer.global_step}.ckpt")
        try:
            trainer.save_checkpoint(path)
        except OSError as error:
            if trainer.world_size > 1:
                raise  # one rank that goes on alone would hang the others
            ours.save_failed(error)
        else:
            ours.saved(path)


def _folder(trainer: Any) -> str:
    callback = trainer.checkpoint_callback
    if getattr(callback, "dirpath", None):
        return str(callback.dirpath)
    return os.path.join(trainer.log_dir or trainer.default_root_dir, "checkpoints")
