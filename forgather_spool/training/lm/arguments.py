"""`train.args`: TrainingArguments by name, checked before transformers sees them.

Ours are the defaults for where and how it runs; the config's stand over them.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from forgather_spool.errors import BadDocument
from forgather_spool.training.lm.section import WHERE, Section, no_such_field

OURS = {
    "output_dir": "set output_dir at the top of the config",
    "seed": "set train.seed",
    "resume_from_checkpoint": "use --resume",
}
AT_LEAST = {
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1,
    "learning_rate": 0, "weight_decay": 0,
}  # fmt: skip


def check_arguments(section: Section) -> None:
    """Raise BadDocument for a name or a type TrainingArguments would not take."""
    _converted(section)


def make_arguments(section: Section) -> Any:
    """The TrainingArguments. Made once: this also joins the ranks of a torchrun."""
    import torch
    from transformers import TrainingArguments

    on_cpu = not torch.cuda.is_available()
    defaults: dict[str, Any] = {
        "logging_steps": 10, "disable_tqdm": True, "report_to": "none", "use_cpu": on_cpu, "log_level": "error",
    }  # fmt: skip
    if on_cpu:
        defaults["dataloader_pin_memory"] = False
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            defaults["ddp_backend"] = "gloo"
    given = _converted(section)
    try:
        args = TrainingArguments(**(defaults | given), output_dir=section.output_dir, seed=section.seed)
    except (ValueError, TypeError, ImportError, KeyError) as error:
        raise BadDocument(f"{WHERE}.args", str(error).strip().splitlines()[0]) from None
    if args.n_gpu > 1:
        args._n_gpu = 1  # else Trainer wraps the model in DataParallel for each card it sees; ranks are torchrun's
    return args


def _converted(section: Section) -> dict[str, Any]:
    from transformers import TrainingArguments

    fields = {field.name: field for field in dataclasses.fields(TrainingArguments)}
    converted = {}
    for name, value in section.args.items():
        where = f"{WHERE}.args.{name}"
        if name in OURS:
            raise BadDocument(where, "is not set here", hint=OURS[name])
        if name not in fields:
            raise no_such_field(f"{WHERE}.args", name, list(fields), of="TrainingArguments")
        converted[name] = _as_default(where, value, fields[name].default)
        if name in AT_LEAST and converted[name] < AT_LEAST[name]:
            raise BadDocument(where, f"{value} is less than {AT_LEAST[name]}")
    return converted


def _as_default(where: str, value: Any, default: Any) -> Any:
    """`value`, of the type the field's default has; where that says nothing, as it is."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise BadDocument(where, f"expected true or false, got {value!r}")
    elif isinstance(default, float):
        return _number(where, value)
    elif isinstance(default, int):
        number = _number(where, value)
        return int(number) if number.is_integer() else number  # a share of the steps, as logging_steps: 0.1
    return value


def _number(where: str, value: Any) -> float:
    """YAML 1.1 reads 1e-3 as text: what looks like a number is one."""
    if not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise BadDocument(where, f"expected number, got {value!r}")
