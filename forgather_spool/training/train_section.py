"""The section `train` of a config, completed: what the built-in trainer reads.

    train:
      model: {config: {model_type: gpt2, n_layer: 4}}     or {pretrained: FOLDER}
      tokenizer: {kind: byte}                             or bpe, pretrained
      data: {text: python-stdlib}                         or {dataset: FOLDER, column: text}, or {stream: local/stories}
      block_size: 256
      args: {max_steps: 400, learning_rate: 1e-3}         fields of transformers.TrainingArguments

Every default is filled in and every path absolute. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from forgather_spool import schema
from forgather_spool.errors import BadDocument
from forgather_spool.training.config_fields import DATA, TOKENIZER, TRAIN

DEFAULT_SPLIT, DEFAULT_VALIDATION = "train", 0.02
BPE_SAMPLE_BYTES = 64 << 20
PYTHON_STDLIB = "python-stdlib"  # in place of a path: the sources of the standard library


def completed(section: Mapping[str, Any], absolute: Callable[[str], str]) -> dict[str, Any]:
    """`section` with its defaults; `absolute` makes paths so. Types have been checked (`config_file.check_keys`).

    Raises:
        BadDocument: something is missing, or excludes something else.
    """
    full: dict[str, Any] = schema.check(dict(section), TRAIN, where="$.train")
    for key in ("model", "data"):
        if full[key] is None:
            raise BadDocument(f"$.train.{key}", "is required")
    model = _model(full["model"], absolute)
    return {
        "model": model,
        "tokenizer": _tokenizer(full["tokenizer"], model.get("pretrained"), absolute),
        "data": _data(full["data"], absolute),
        "block_size": full["block_size"],
        "seed": full["seed"],
        "args": dict(full["args"]),
    }


def _model(given: Mapping[str, Any], absolute: Callable[[str], str]) -> dict[str, Any]:
    _exactly_one("$.train.model", given, ("config", "pretrained"))
    if "pretrained" in given:
        return {"pretrained": absolute(given["pretrained"])}
    if not isinstance(given["config"].get("model_type"), str):
        raise BadDocument("$.train.model.config.model_type", "is required, e.g. gpt2 or llama")
    return {"config": given["config"]}


def _tokenizer(given: Mapping[str, Any], pretrained: str | None, absolute: Callable[[str], str]) -> dict[str, Any]:
    if not given and pretrained is not None:  # a model goes with the tokenizer it was trained with
        return {"kind": "pretrained", "path": pretrained}
    full: dict[str, Any] = schema.check(dict(given), TOKENIZER, where="$.train.tokenizer")
    kind, path = full["kind"], full["path"]
    if (kind == "pretrained") != (path is not None):
        raise BadDocument("$.train.tokenizer.path", "goes with kind: pretrained, which needs it")
    if kind == "pretrained":
        return {"kind": kind, "path": absolute(path)}
    return {"kind": kind, "vocab_size": full["vocab_size"]} if kind == "bpe" else {"kind": kind}


def _data(given: Mapping[str, Any], absolute: Callable[[str], str]) -> dict[str, Any]:
    _exactly_one("$.train.data", given, ("text", "dataset", "stream"))
    text = given.get("text")
    texts = [text] if isinstance(text, str) else text
    full: dict[str, Any] = schema.check({**given, "text": texts}, DATA, where="$.train.data")
    if full["stream"] is not None:
        return _streamed(full, absolute)
    for key in ("server", "shuffle"):
        if key in given:
            raise BadDocument(f"$.train.data.{key}", "goes with stream")
    validation = DEFAULT_VALIDATION if full["validation"] is None else full["validation"]
    common = {"validation": validation, "max_bytes": full["max_bytes"]}
    if texts is not None:
        if not texts:
            raise BadDocument("$.train.data.text", "must not be empty")
        return {"text": [item if item == PYTHON_STDLIB else absolute(item) for item in texts], **common}
    split = full["split"] or DEFAULT_SPLIT
    return {"dataset": absolute(full["dataset"]), "column": full["column"], "split": split, **common}


def _streamed(full: Mapping[str, Any], absolute: Callable[[str], str]) -> dict[str, Any]:
    """A name stays a name; what is written as a path (./data, /data, ~/data) becomes an absolute one."""
    name = full["stream"]
    held_out = {"validation": full["validation"]} if full["validation"] else {}
    return {
        "stream": absolute(name) if name.startswith((".", "/", "~")) else name,
        "server": full["server"],
        "shuffle": full["shuffle"],
        "column": full["column"],
        "split": full["split"],
        "max_bytes": full["max_bytes"] or BPE_SAMPLE_BYTES,
        **held_out,
    }


def _exactly_one(where: str, mapping: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    if sum(mapping.get(key) is not None for key in keys) != 1:
        raise BadDocument(where, f"give exactly one of {', '.join(keys[:-1])} and {keys[-1]}")
