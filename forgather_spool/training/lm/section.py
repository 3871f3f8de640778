"""What a resolved config says to the built-in trainer: checked once, then values that cannot be wrong.

The keys and their types are `training.config_fields`, what goes with what is
`training.train_section`; names of transformers itself (model types, their
fields, TrainingArguments) are checked by `model` and `arguments`, which know
them. Here nothing needs torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from forgather_spool.document import Document
from forgather_spool.errors import BadDocument
from forgather_spool.schema import check
from forgather_spool.training.config_fields import DATA, MODEL, TOKENIZER, TRAIN
from forgather_spool.training.train_section import completed

WHERE = "$.train"


@dataclass(frozen=True)
class Section:
    """One training, as its config says it, in the completed form of `train_section`."""

    name: str
    output_dir: str
    model: dict[str, Any]
    tokenizer: dict[str, Any]
    data: dict[str, Any]
    block_size: int
    seed: int
    args: dict[str, Any]

    @property
    def streams(self) -> bool:
        """Whether the data are read while training, not before."""
        return "stream" in self.data

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed to the same losses."""
        return {
            "model": self.model, "tokenizer": self.tokenizer,
            "data": {key: value for key, value in self.data.items() if key != "server"},  # any that has the same
            "block_size": self.block_size, "seed": self.seed,
        }  # fmt: skip


def section_of(config: Document) -> Section:
    """The trainer's part of a resolved config. Raises BadDocument with the path of what is wrong."""
    given = config.get("train")
    if not isinstance(given, dict):
        raise BadDocument(WHERE, "is required: this is the config of the built-in trainer", hint="forgather init")
    name = config.get("name") or "model"
    output_dir = config.get("output_dir") or f"output_models/{name}"
    for key, value in (("name", name), ("output_dir", output_dir)):
        if not isinstance(value, str):
            raise BadDocument(f"$.{key}", "expected string")
    train = completed(_checked(given), os.path.abspath)
    return Section(
        name=str(name),
        output_dir=os.path.abspath(str(output_dir)),
        model=train["model"],
        tokenizer=train["tokenizer"],
        data=train["data"],
        block_size=train["block_size"],
        seed=train["seed"],
        args=train["args"],
    )


def no_such_field(where: str, name: str, known: list[str], *, of: str) -> BadDocument:
    """The error for a name transformers does not know: with the ones that look like it."""
    close = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"see the documentation of {of}"
    return BadDocument(f"{where}.{name}", f"{of} has no such field", hint=hint)


def _checked(given: Document) -> Document:
    """`given`, once every key in it is one we know and of the right type."""
    check(given, TRAIN, where=WHERE, unknown="refuse")
    for key, fields in (("model", MODEL), ("tokenizer", TOKENIZER), ("data", DATA)):
        inner = given.get(key)
        if isinstance(inner, dict):
            if isinstance(inner.get("text"), str):  # one file, as a person writes it
                inner = {**inner, "text": [inner["text"]]}
            check(inner, fields, where=f"{WHERE}.{key}", unknown="refuse")
    return given
