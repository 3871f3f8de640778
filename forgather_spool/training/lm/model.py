"""The model: fresh from a transformers config, or read from a folder."""

from __future__ import annotations

import os
from typing import Any

from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.training.lm.section import WHERE, Section, no_such_field


def check_model(section: Section) -> None:
    """Raise BadDocument for what `make_model` could not make; nothing is read or built."""
    if "pretrained" in section.model:
        if not os.path.isfile(f"{section.model['pretrained']}/config.json"):
            raise BadDocument(f"{WHERE}.model.pretrained", f"{section.model['pretrained']} holds no config.json")
        return
    _config_class(section)


def make_model(section: Section, tokenizer: Any) -> Any:
    """A causal language model that fits the tokenizer and the block size. Random weights come from torch's seed."""
    from transformers import AutoModelForCausalLM

    if "pretrained" in section.model:
        model = _pretrained(section.model["pretrained"])
        _check_fit(section, model.config, tokenizer, f"{WHERE}.model.pretrained")
        return model
    where = f"{WHERE}.model.config"
    config = _config(section, tokenizer)
    _check_fit(section, config, tokenizer, where)
    try:
        return AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, KeyError) as error:
        raise BadDocument(where, _first_line(error)) from None


def _config(section: Section, tokenizer: Any) -> Any:
    kind = _config_class(section)
    end = tokenizer.eos_token_id
    fitting = {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    try:
        return kind(**(fitting | _fields(section)))
    except Exception as error:  # transformers checks its configs with exceptions of its own
        raise BadDocument(f"{WHERE}.model.config", _first_line(error)) from None


def _config_class(section: Section) -> Any:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    where = f"{WHERE}.model.config"
    name = section.model["config"].get("model_type")
    if not isinstance(name, str):
        raise BadDocument(f"{where}.model_type", "is required", hint="for instance gpt2 or llama")
    if name not in CONFIG_MAPPING or CONFIG_MAPPING[name] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        from difflib import get_close_matches

        close = get_close_matches(name, list(CONFIG_MAPPING), n=3) or ["gpt2", "llama"]
        problem = f"{name!r} is no causal language model of transformers"
        raise BadDocument(f"{where}.model_type", problem, hint=f"try {', '.join(close)}")
    kind = CONFIG_MAPPING[name]
    known = [*kind().to_dict(), *kind.attribute_map]
    for field in _fields(section):
        if field not in known:
            raise no_such_field(where, field, known, of=kind.__name__)
    return kind


def _fields(section: Section) -> dict[str, Any]:
    return {name: value for name, value in section.model["config"].items() if name != "model_type"}


def _pretrained(folder: str) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises whatever its readers raise
        raise UnreadableFile(f"{folder} holds no causal language model: {_first_line(error)}") from None


def _check_fit(section: Section, config: Any, tokenizer: Any, where: str) -> None:
    vocabulary = getattr(config, "vocab_size", None)
    if isinstance(vocabulary, int) and vocabulary < len(tokenizer):
        raise BadDocument(
            f"{where}.vocab_size", f"{vocabulary} is less than the tokenizer's {len(tokenizer)} tokens",
            hint="leave it out: it is taken from the tokenizer",
        )  # fmt: skip
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions < section.block_size:
        raise BadDocument(
            f"{WHERE}.block_size", f"{section.block_size} is more than the model's {positions} positions",
            hint="make block_size smaller, or the model's max_position_embeddings larger",
        )  # fmt: skip


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
