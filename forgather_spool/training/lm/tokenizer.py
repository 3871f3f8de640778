"""Text to tokens: bytes as they are, or byte-level BPE trained on the data. Made once per output directory.

It lies in ``<output_dir>/tokenizer`` with a note of what it was made from, and
is used again as long as that has not changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, ForgatherError, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.training.lm.section import WHERE, Section

END_OF_TEXT = "<|endoftext|>"
MADE_FROM = "made_from.json"


def make_tokenizer(section: Section, texts: Iterable[str]) -> Any:
    """A `PreTrainedTokenizerFast` with an end-of-text token. `texts` are read only to train one."""
    if section.tokenizer["kind"] == "pretrained":
        return _load(section.tokenizer["path"], f"{WHERE}.tokenizer.path")
    folder = f"{section.output_dir}/tokenizer"
    made_from: Document = {"tokenizer": section.tokenizer, "data": section.identity()["data"]}
    if _made_from(folder) == made_from:
        return _load(folder, f"{WHERE}.tokenizer")
    tokenizer = _wrapped(_bytes() if section.tokenizer["kind"] == "byte" else _bpe(section, texts))
    _save(tokenizer, folder, made_from)
    return tokenizer


def _bytes() -> Any:
    """No merges: each byte of the text is one token, whose id is the byte."""
    from tokenizers import Tokenizer, models

    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    return _byte_level(Tokenizer(models.BPE(vocab=vocabulary, merges=[])))


def _bpe(section: Section, texts: Iterable[str]) -> Any:
    from tokenizers import Tokenizer, models, trainers

    tokenizer = _byte_level(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=section.tokenizer["vocab_size"],
        special_tokens=[END_OF_TEXT],
        initial_alphabet=_byte_characters(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _byte_level(tokenizer: Any) -> Any:
    from tokenizers import decoders, pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte: itself, or the next one from 256 on, as GPT-2 has it."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    characters = []
    for byte in range(256):
        hidden_before = sum(1 for other in range(byte) if other not in visible)
        characters.append(chr(byte if byte in visible else 256 + hidden_before))
    return characters


def _wrapped(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _load(folder: str, where: str) -> Any:
    from transformers import AutoTokenizer

    if not os.path.isdir(folder):
        raise BadDocument(where, f"there is no folder {folder}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises whatever its readers raise
        raise UnreadableFile(f"{folder} holds no tokenizer: {str(error).splitlines()[0]}") from None
    if tokenizer.eos_token_id is None:
        raise BadDocument(where, f"the tokenizer in {folder} has no end-of-text token (eos_token)")
    return tokenizer


def _made_from(folder: str) -> Document | None:
    """What the tokenizer in `folder` was made from; None where there is none, or it was not finished."""
    try:
        return files.read_document(f"{folder}/{MADE_FROM}")
    except (FileNotFoundError, ForgatherError):
        return None  # made again, which costs seconds


def _save(tokenizer: Any, folder: str, made_from: Document) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
        files.discard(f"{folder}/{MADE_FROM}")
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise files.failed("write", folder, error) from None
    files.replace(f"{folder}/{MADE_FROM}", made_from, folder)
