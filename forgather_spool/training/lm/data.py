"""Text as blocks of tokens, the same ones in the same order each time.

Documents are read in sorted order, joined with an end-of-text token after each
and cut into blocks of one length. Every so-many-th block is held out.
"""

from __future__ import annotations

import glob
import os
import sysconfig
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.training.lm.section import WHERE, Section

STDLIB = "python-stdlib"
NO_SOURCES = {"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"}
CHUNK_CHARACTERS = 1 << 20  # encoded at a time: the encoder holds several hundred bytes a token


class Blocks(Dataset):  # type: ignore[misc]
    """Rows of a token matrix, as a causal language model takes them (it shifts the labels itself)."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self._rows[index].long()
        return {"input_ids": row, "labels": row}


def read_documents(section: Section) -> Iterator[str]:
    """Each document's text, at most `max_bytes` of them all. Raises BadDocument when there is nothing."""
    left = section.data["max_bytes"]
    for text in _texts(section):
        if left is not None:
            data = text.encode("utf-8", "replace")[:left]
            left -= len(data)
            text = data.decode("utf-8", "ignore")
        if text:
            yield text
        if left == 0:
            return


def _texts(section: Section) -> Iterator[str]:
    if section.streams:
        from forgather_spool.training.lm.rows import texts_of

        return texts_of(section)
    return _from_files(section.data["text"]) if "text" in section.data else _from_dataset(section.data)


def make_blocks(section: Section, tokenizer: Any) -> tuple[Blocks, Blocks | None]:
    """The blocks to train on, and those held out (None when there is nothing to hold out)."""
    size = section.block_size
    tokens = _tokens(section, tokenizer)
    rows = torch.from_numpy(tokens[: len(tokens) // size * size].reshape(-1, size))
    fraction = section.data["validation"]
    every = round(1 / fraction) if fraction > 0 else 0
    held_out = torch.zeros(len(rows), dtype=torch.bool)
    if every:
        held_out[every - 1 :: every] = True
    if not (~held_out).any():
        raise BadDocument(
            f"{WHERE}.data",
            f"{len(tokens)} tokens are less than one block of {size}",
            hint="give more text, or a smaller block_size",
        )
    return Blocks(rows[~held_out]), Blocks(rows[held_out]) if held_out.any() else None


def _tokens(section: Section, tokenizer: Any) -> np.ndarray:
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    parts: list[np.ndarray] = []
    for pieces in _batches(section):
        for encoding, last in zip(encode([text for text, _ in pieces], add_special_tokens=False), pieces, strict=True):
            parts.append(np.array(encoding.ids, dtype=np.int32))
            if last[1]:
                parts.append(np.array([tokenizer.eos_token_id], dtype=np.int32))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)


def _batches(section: Section) -> Iterator[list[tuple[str, bool]]]:
    """Pieces of documents, each with whether its document ends there, about a chunk's worth at a time."""
    batch: list[tuple[str, bool]] = []
    waiting = 0
    for text in read_documents(section):
        for start in range(0, len(text), CHUNK_CHARACTERS):
            piece = text[start : start + CHUNK_CHARACTERS]
            batch.append((piece, start + CHUNK_CHARACTERS >= len(text)))
            waiting += len(piece)
            if waiting >= CHUNK_CHARACTERS:
                yield batch
                batch, waiting = [], 0
    if batch:
        yield batch


def _from_files(sources: list[str]) -> Iterator[str]:
    for number, source in enumerate(sources):
        paths = _stdlib() if source == STDLIB else _matching(source)
        if not paths:
            raise BadDocument(f"{WHERE}.data.text[{number}]", f"no file matches {source}")
        for path in paths:
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    yield file.read()
            except OSError as error:
                raise files.failed("read", path, error) from None


def _matching(pattern: str) -> list[str]:
    expanded = os.path.expanduser(pattern)
    if os.path.isfile(expanded):
        return [expanded]
    return sorted(path for path in glob.glob(expanded, recursive=True) if os.path.isfile(path))


def _stdlib() -> list[str]:
    paths = []
    for folder, folders, names in os.walk(sysconfig.get_paths()["stdlib"]):
        folders[:] = [name for name in folders if name not in NO_SOURCES]
        paths += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(paths)


def _from_dataset(data: dict[str, Any]) -> Iterator[str]:
    folder, column, split = data["dataset"], data["column"], data["split"]
    where = f"{WHERE}.data"
    if not os.path.isdir(folder):
        raise BadDocument(f"{where}.dataset", f"there is no folder {folder}")
    from datasets import DatasetDict, load_from_disk

    try:
        dataset = load_from_disk(folder)
    except Exception as error:  # datasets raises whatever its readers raise
        raise UnreadableFile(f"{folder} holds no dataset: {error}", hint="write it with Dataset.save_to_disk") from None
    if isinstance(dataset, DatasetDict):
        if split not in dataset:
            raise BadDocument(f"{where}.split", f"{folder} has no {split!r}", hint=f"it has {', '.join(dataset)}")
        dataset = dataset[split]
    if column not in dataset.column_names:
        columns = ", ".join(dataset.column_names)
        raise BadDocument(f"{where}.column", f"{folder} has no column {column!r}", hint=f"it has {columns}")
    for text in dataset[column]:
        yield str(text)
