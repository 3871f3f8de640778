"""For training code: a run that can be asked, saved and stopped from outside.

    from forgather_spool.trainer import TrainerControl

    control = TrainerControl()
    for step in range(1, max_steps + 1):
        train_one_step()
        if control.poll(step):
            ...  # control.should_save, should_stop, should_abort, should_evaluate

Standard library only; `TrainerControlCallback` (Hugging Face) and
`LightningControlCallback` import their libraries when they are asked for.
"""

from __future__ import annotations

from forgather_spool.trainer.control import TrainerControl

__all__ = ["LightningControlCallback", "TrainerControl", "TrainerControlCallback"]


def __getattr__(name: str) -> object:
    if name == "TrainerControlCallback":
        from forgather_spool.trainer.huggingface import TrainerControlCallback

        return TrainerControlCallback
    if name == "LightningControlCallback":
        from forgather_spool.trainer.lightning import LightningControlCallback

        return LightningControlCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
