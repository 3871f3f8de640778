"""One training from a config's section to the saved model: puts the parts of this package together."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
import transformers
from transformers import PrinterCallback, set_seed

from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, ForgatherError, JobFailed, UsageError
from forgather_spool.spool import files
from forgather_spool.trainer.huggingface import TrainerControlCallback
from forgather_spool.trainer.warn import warn_once as warn
from forgather_spool.training.lm import checkpoints
from forgather_spool.training.lm.arguments import check_arguments, make_arguments
from forgather_spool.training.lm.data import make_blocks, read_documents
from forgather_spool.training.lm.model import check_model, make_model
from forgather_spool.training.lm.progress import Progress
from forgather_spool.training.lm.run_log import RunLog, new_run_id
from forgather_spool.training.lm.saving import SAVE_ERRORS, SavingTrainer, first_line
from forgather_spool.training.lm.section import WHERE, Section
from forgather_spool.training.lm.tokenizer import make_tokenizer


def train(section: Section, config: Document, resume: str | None) -> int:
    """Train, and leave model and tokenizer in the output directory. Returns the exit code.

    `resume`: None starts afresh, "" goes on from the newest checkpoint, else
    from that one. A job that the queue runs again goes on from its own newest.
    """
    _quiet()
    check_arguments(section)
    check_model(section)
    resume = checkpoints.of_an_earlier_attempt(section.output_dir) or resume
    resumed_from = None if resume is None else _to_resume(section, resume)
    trainer, ours = _make_trainer(section, config, resumed_from)
    try:
        trainer.go_on_from(resumed_from)
    except torch.OutOfMemoryError as error:
        hint = "make per_device_train_batch_size or block_size smaller"
        raise JobFailed(f"the card has too little memory: {first_line(error)}", hint=hint) from None
    _finish(trainer, ours)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


def _to_resume(section: Section, resume: str) -> str:
    folder = checkpoints.to_resume(resume, section.output_dir)
    changed = checkpoints.differences(folder, section.identity())
    if "model" in changed or "tokenizer" in changed:
        what = " and ".join(name for name in ("model", "tokenizer") if name in changed)
        raise UsageError(f"--resume: {folder} was trained with another {what}", hint="start without --resume")
    for name in changed:
        warn(f"--resume: train.{name} is not what it was: the losses will not be those of an uninterrupted run")
    return folder


def _make_trainer(
    section: Section, config: Document, resumed_from: str | None
) -> tuple[SavingTrainer, TrainerControlCallback]:
    args = make_arguments(section)
    with args.main_process_first(local=False):
        tokenizer = make_tokenizer(section, read_documents(section))
    blocks, held_out = _data(section, tokenizer, args)
    if held_out is None and args.eval_strategy.value != "no":
        hint = "raise data.validation, give more text, or leave out eval_strategy"
        raise BadDocument(f"{WHERE}.args.eval_strategy", "there is no block held out to evaluate on", hint=hint)
    set_seed(section.seed)
    model = make_model(section, tokenizer)
    ours = TrainerControlCallback(on_sigterm="save_and_stop", enable_http=None)
    trainer = SavingTrainer(
        control_callback=ours,
        trains=section.identity(),
        model=model,
        args=args,
        train_dataset=blocks,
        eval_dataset=held_out,
        processing_class=tokenizer,
        data_collator=transformers.default_data_collator,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        size = sum(parameter.numel() for parameter in model.parameters())
        print(f"{section.name}: {size / 1e6:.2f} M parameters, {_said(blocks, section)}")
        if resumed_from is not None:
            print(f"resumes from {resumed_from}")
        sys.stdout.flush()
        _add_logs(trainer, section, config, resumed_from)
    return trainer, ours


def _data(section: Section, tokenizer: Any, args: Any) -> tuple[Any, Any]:
    """What to train on, and what is held out or None."""
    if not section.streams:
        return make_blocks(section, tokenizer)
    if args.max_steps <= 0:
        raise BadDocument(f"{WHERE}.args.max_steps", "is required with data.stream: a stream has no end")
    from forgather_spool.training.lm.stream import load_blocks

    return load_blocks(section, tokenizer, rank=args.process_index, ranks=args.world_size)


def _said(blocks: Any, section: Section) -> str:
    if section.streams:
        return f"{len(blocks.order)} rows, in blocks of {section.block_size} tokens"
    return f"{len(blocks)} blocks of {section.block_size} tokens"


def _add_logs(trainer: SavingTrainer, section: Section, config: Document, resumed_from: str | None) -> None:
    run_id = new_run_id(section.output_dir)
    folder = f"{section.output_dir}/runs/{run_id}"
    facts = {
        "version": 1,
        "run_id": run_id,
        "name": section.name,
        "job_id": os.environ.get("FORGATHER_JOB_ID"),
        "resumed_from": resumed_from,
        "world_size": trainer.args.world_size,
        "device": str(trainer.args.device),
        "config": config,
    }
    trainer.args.logging_dir = folder  # the control callback shows it
    trainer.add_callback(RunLog(folder, facts))
    trainer.add_callback(Progress())
    try:
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        trainer.add_callback(TensorBoardCallback(SummaryWriter(folder)))
    except ImportError:
        warn("tensorboard is not installed: no event files for this run")
    except OSError as error:
        warn(f"no event files for this run: {error}")


def _finish(trainer: SavingTrainer, ours: TrainerControlCallback) -> None:
    """Save the model, unless the run was aborted or stopped without saving; say where everything is."""
    control, step = ours.control, trainer.state.global_step
    stopped = control is not None and control.should_stop
    if control is not None and control.should_abort:
        _say(trainer, f"aborted after step {step}; nothing was saved")
        return
    if stopped and trainer.saved_step != step and trainer.args.save_strategy.value == "no":
        _say(trainer, f"stopped after step {step}; nothing was saved, as save_strategy is no")
        return
    try:
        trainer.save_model()
    except SAVE_ERRORS as error:
        raise _unsaved(trainer.args.output_dir, error) from None
    _say(trainer, f"{'stopped' if stopped else 'ended'} after step {step}: {trainer.args.output_dir}")


def _unsaved(output_dir: str, error: Exception) -> ForgatherError:
    if isinstance(error, OSError):
        return files.failed("write", output_dir, error)
    return JobFailed(f"the model could not be saved in {output_dir}: {first_line(error)}", hint="df -h")


def _say(trainer: Any, line: str) -> None:
    if trainer.is_world_process_zero():
        print(line, flush=True)


def _quiet() -> None:
    """The library's advice and its bars for shards of weights; what matters comes as an exception."""
    import warnings

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)\.")
