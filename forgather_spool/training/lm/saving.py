"""The Trainer that saves whole checkpoints, and goes on training when one cannot be saved."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints

from forgather_spool.dataset import ComposableIterableDataset
from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError, StorageFailed
from forgather_spool.spool import files
from forgather_spool.trainer.huggingface import TrainerControlCallback
from forgather_spool.trainer.warn import warn_once as warn
from forgather_spool.training.lm import checkpoints, stream

# A full disk: OSError from Python, RuntimeError from torch.save, SafetensorError from the weights.
SAVE_ERRORS = (OSError, RuntimeError, SafetensorError, StorageFailed)


class SavingTrainer(Trainer):  # type: ignore[misc]
    """`Trainer`, with checkpoints that are either whole or gone.

    `trains` goes into each checkpoint's marker. One process: a failed save is
    told, answered to whoever asked, and training goes on. Several ranks: it
    ends the run, since the others wait inside the save. `saved_step` is the last
    step this run saved.
    """

    def __init__(self, *, control_callback: TrainerControlCallback, trains: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.add_callback(control_callback)
        self._ours = control_callback
        self._trains = trains
        self.saved_step: int | None = None
        self._losses: Any = None
        self._carried: Any = None  # losses before the checkpoint that no log has had
        # The library would remove old checkpoints before the new one counts.
        self._stream: ComposableIterableDataset | None = None
        if isinstance(self.train_dataset, ComposableIterableDataset):
            self._stream = self.train_dataset
            self.args.ignore_data_skip = True  # the data set knows where it was: nothing is read to be left out
        self._keep = self.args.save_total_limit
        self.args.save_total_limit = None

    def go_on_from(self, folder: str | None) -> None:
        """Train, from the checkpoint in `folder` where one is given; the next mean loss spans the break.

        A run whose last step that was is not trained any further: the library would take one step too many.
        """
        if folder is not None and self._was_the_last(folder):
            self._load_from_checkpoint(folder)
            return
        if folder is not None:
            if self._stream is not None:
                stream.load_position(self._stream, folder, rank=self.args.process_index, ranks=self.args.world_size)
            try:
                self._carried = files.read_document(self._since_log(folder))
            except (FileNotFoundError, ForgatherError):
                pass  # another number of ranks saved it: the first mean covers fewer steps
        self.train(resume_from_checkpoint=folder)

    def get_train_dataloader(self) -> Any:
        if self._stream is None:
            return super().get_train_dataloader()
        return stream.Batches(self._stream, self.args.train_batch_size)

    def _was_the_last(self, folder: str) -> bool:
        try:
            saved = TrainerState.load_from_json(os.path.join(folder, TRAINER_STATE_NAME))
        except (OSError, ValueError, TypeError):
            return False  # the library says what is wrong with it
        if self.args.max_steps > 0:
            last_step = self.args.max_steps
        elif self.args.num_train_epochs <= saved.num_train_epochs:
            last_step = saved.max_steps
        else:
            return False
        if saved.global_step < last_step:
            return False
        self.state.global_step = saved.global_step
        return True

    def _maybe_log_save_evaluate(self, tr_loss: Any, *rest: Any, **options: Any) -> None:
        """After each step. Only the library has the losses since the last log; a checkpoint needs them too."""
        if self._carried is not None:
            tr_loss += self._carried["loss"]
            self._globalstep_last_logged -= self._carried["steps"]
            self._carried = None
        self._losses = tr_loss
        super()._maybe_log_save_evaluate(tr_loss, *rest, **options)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        folder = os.path.join(self.args.output_dir, f"{checkpoints.PREFIX}{step}")
        try:
            self._save_whole(model, trial, folder)
        except SAVE_ERRORS as error:
            if self.args.world_size > 1:
                problem = f"step {step}: the checkpoint could not be saved: {first_line(error)}"
                raise StorageFailed(problem, hint="--resume goes on from the last complete one") from None
            self._give_up(folder, error)
        else:
            self.saved_step = step
            self._remove_old()

    def _save_whole(self, model: Any, trial: Any, folder: str) -> None:
        if self.args.should_save:
            checkpoints.begin(folder)
        super()._save_checkpoint(model, trial)
        steps = self.state.global_step - self._globalstep_last_logged
        since_log: Document = {"steps": steps, "loss": float(self._losses) if steps else 0.0}
        files.note(self._since_log(folder), since_log, folder)
        if self._stream is not None:
            stream.save_position(self._stream, folder, rank=self.args.process_index, ranks=self.args.world_size)
        if self.args.world_size > 1:
            torch.distributed.barrier()  # each rank has written its random state
        if self.args.should_save:
            checkpoints.complete(folder, self.state.global_step, self._trains)

    def _since_log(self, folder: str) -> str:
        return f"{folder}/since_log_{self.args.process_index}.json"

    def _remove_old(self) -> None:
        if not self.args.should_save:
            return
        try:
            rotate_checkpoints(
                output_dir=self.args.output_dir,
                save_total_limit=self._keep,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )
        except OSError as error:
            warn(f"old checkpoints could not be removed: {error}")

    def _give_up(self, folder: str, error: Exception) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        reason = first_line(error)
        warn(f"step {self.state.global_step}: the checkpoint could not be saved, training goes on: {reason}")
        if self._ours.control is not None:
            self._ours.control.save_failed(f"{reason}; the previous checkpoint stands")


def first_line(error: Exception) -> str:
    """What an exception says, on one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
