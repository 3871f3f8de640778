"""What the built-in trainer refuses: with the path of what is wrong, in one line, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgather_spool.errors import BadDocument, UsageError
from forgather_spool.training.lm import checkpoints
from forgather_spool.training.lm.arguments import check_arguments
from forgather_spool.training.lm.model import check_model, make_model
from forgather_spool.training.lm.section import section_of
from forgather_spool.training.lm.tokenizer import make_tokenizer
from tests.training.lm_runs import Run, config, with_change

for library in ("torch", "transformers"):
    pytest.importorskip(library, reason=f"the built-in trainer needs {library}: pip install 'forgather-spool[train]'")


def look_at(document: dict[str, Any]) -> None:
    """All the checks a run makes before its first step."""
    from forgather_spool.training.lm.data import make_blocks, read_documents

    section = section_of(document)
    check_arguments(section)
    check_model(section)
    tokenizer = make_tokenizer(section, read_documents(section))
    make_blocks(section, tokenizer)
    make_model(section, tokenizer)


@pytest.mark.parametrize(
    ("path", "value", "where", "word"),
    [
        ("modle", {}, "$.train.modle", "block_size"),
        ("block_size", 1, "$.train.block_size", "less than 2"),
        ("block_size", 64, "$.train.block_size", "32 positions"),
        ("block_size", "64", "$.train.block_size", "integer"),
        ("seed", -1, "$.train.seed", "less than 0"),
        ("model", {}, "$.train.model", "config and pretrained"),
        ("model.pretrained", "x", "$.train.model", "exactly one"),
        ("model", {"pretrained": "nowhere"}, "$.train.model.pretrained", "nowhere"),
        ("model.config", {}, "$.train.model.config.model_type", "gpt2"),
        ("model.config.model_type", "gtp2", "$.train.model.config.model_type", "gpt2"),
        ("model.config.model_type", "vit", "$.train.model.config.model_type", "causal"),
        ("model.config.n_layers", 2, "$.train.model.config.n_layers", "n_layer"),
        ("model.config.n_layer", "two", "$.train.model.config", "n_layer"),
        ("model.config.n_head", 5, "$.train.model.config", "5"),
        ("model.config.vocab_size", 100, "$.train.model.config.vocab_size", "257"),
        ("tokenizer", {"kind": "word"}, "$.train.tokenizer.kind", "byte, bpe"),
        ("tokenizer", {"kind": "byte", "path": "x"}, "$.train.tokenizer.path", "pretrained"),
        ("tokenizer", {"kind": "pretrained", "path": "nowhere"}, "$.train.tokenizer.path", "nowhere"),
        ("data", {}, "$.train.data", "text, dataset and stream"),
        ("data.text", [], "$.train.data.text", "empty"),
        ("data.text", ["nowhere/*.txt"], "$.train.data.text[0]", "nowhere/*.txt"),
        ("data.max_bytes", 20, "$.train.data", "less than one block"),
        ("data.validation", 2, "$.train.data.validation", "more than 0.5"),
        ("data", {"dataset": "nowhere"}, "$.train.data.dataset", "nowhere"),
        ("args.max_step", 5, "$.train.args.max_step", "max_steps"),
        ("args.output_dir", "x", "$.train.args.output_dir", "top of the config"),
        ("args.max_steps", "many", "$.train.args.max_steps", "number"),
        ("args.learning_rate", -1, "$.train.args.learning_rate", "less than 0"),
        ("args.per_device_train_batch_size", 0, "$.train.args.per_device_train_batch_size", "less than 1"),
        ("args.bf16", "yes", "$.train.args.bf16", "true or false"),
    ],
)
def test_what_is_wrong_in_a_config_is_named_by_its_path(
    tmp_path: Path, path: str, value: Any, where: str, word: str
) -> None:
    document = with_change(config(tmp_path), path, value)

    with pytest.raises(BadDocument) as caught:
        look_at(document)

    assert caught.value.where == where
    assert word in f"{caught.value.problem} {caught.value.hint}"
    assert "\n" not in str(caught.value)


def test_a_good_config_passes_and_holds_out_a_share(tmp_path: Path) -> None:
    from forgather_spool.training.lm.data import make_blocks, read_documents

    document = with_change(config(tmp_path, learning_rate="1e-3"), "data.validation", 0.1)
    section = section_of(document)
    check_arguments(section)

    training, held_out = make_blocks(section, make_tokenizer(section, read_documents(section)))

    assert held_out is not None
    assert len(held_out) == (len(training) + len(held_out)) // 10


def test_a_trained_tokenizer_is_kept_until_what_it_was_made_from_changes(tmp_path: Path) -> None:
    from forgather_spool.training.lm.data import read_documents

    document = with_change(config(tmp_path), "tokenizer", {"kind": "bpe", "vocab_size": 300})
    section = section_of(document)
    made = make_tokenizer(section, read_documents(section))

    kept = make_tokenizer(section, iter(()))  # without texts none could be trained
    other = section_of(with_change(document, "tokenizer.vocab_size", 280))

    assert kept.get_vocab() == made.get_vocab()
    assert len(kept) == 300
    assert len(make_tokenizer(other, read_documents(other))) == 280


def test_resume_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no complete checkpoint") as caught:
        checkpoints.to_resume("", str(tmp_path))

    assert caught.value.hint == "start without --resume"


def test_a_mistake_is_one_line_and_its_fix(tmp_path: Path) -> None:
    """No traceback, and a code of its own."""
    run = Run(tmp_path, config(tmp_path, max_step=5))

    assert run.end() == 65
    error, fix = run.output.splitlines()
    assert error == "error: $.train.args.max_step: TrainingArguments has no such field"
    assert fix.startswith("  fix: did you mean max_steps")


def test_an_evaluation_needs_something_held_out(tmp_path: Path) -> None:
    document = with_change(config(tmp_path, eval_strategy="epoch"), "data.validation", 0)

    run = Run(tmp_path, document)

    assert run.end() == 65
    assert run.output.startswith("error: $.train.args.eval_strategy: ")
