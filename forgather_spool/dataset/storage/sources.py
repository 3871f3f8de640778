"""Sources: which files a data set's name means, and how they are to be read. Looks at names, opens nothing large.

what is named                                    files
a folder made by `save_to_disk`                  those of its state.json; with splits, of one of them
a folder of .arrow .parquet .jsonl .json .txt    all of one split, in the order of their names
one such file, or a pattern (``*.parquet``)      those
arrow, parquet, json, text with `data_files`     those
a data set of the Hugging Face hub               what lies prepared in its cache; see hub.py
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.storage.packed import CODECS
from forgather_spool.dataset.storage.search import Search
from forgather_spool.errors import Missing, UsageError

FORMATS = {
    ".arrow": "arrow", ".parquet": "parquet", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".txt": "text",
}  # fmt: skip
WORDS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Files of one format, in the sequence of their rows."""

    files: tuple[str, ...]
    format: str


def source_of(path: str, split: str | None = None, data_files: Any = None) -> Source | None:
    """What `path` names on this machine; None when it is nothing here, so perhaps a name on the hub.

    Raises:
        UsageError: several splits and none chosen, or files of several formats.
        Missing: `data_files` or the split are not there.
        BadDataset: a folder of `save_to_disk` that lacks its parts.
    """
    if data_files is not None:
        if path in FORMATS.values():
            return _listed(os.curdir, data_files, split, path)
        return _listed(path, data_files, split, None) if os.path.isdir(path) else None
    if os.path.isdir(path):
        return _folder(path, split)
    if os.path.isfile(path):
        return Source(_of_one_split([path], split, path), _format([path]))
    if glob.has_magic(path):  # no name on the hub has such letters
        if not (found := _files([path])):
            raise Missing(f"{path}: no file is called so")
        return _split_of(found, split, path)
    return None


def _folder(path: str, split: str | None) -> Source:
    if os.path.isfile(os.path.join(path, "dataset_dict.json")):
        splits = _read(os.path.join(path, "dataset_dict.json")).get("splits", [])
        return _saved(os.path.join(path, one_of(splits, split, path)))
    if os.path.isfile(os.path.join(path, "state.json")):
        if split not in (None, "train", saved_split(path)):
            raise Missing(f"{path}: no split {split!r}", hint="this folder holds a single data set")
        return _saved(path)
    found = _data_files(path)
    if not found:
        raise Missing(f"{path}: no data files", hint=f"known are {' '.join(FORMATS)}")
    if plain := [one for one in found if not one.endswith(".json")]:
        found = plain  # .json beside others is about them
    return _split_of(found, split, path)


def _data_files(path: str) -> list[str]:
    """In the order of their names: the sequence of rows must not hang on the file system's."""
    return Search(path).below(path, lambda name: format_of(name) is not None and not name.startswith("_"))


def saved_split(path: str) -> str | None:
    """The split a folder of `save_to_disk` says it was."""
    try:
        return _read(os.path.join(path, "state.json")).get("_split")
    except BadDataset:
        return None


def _saved(path: str) -> Source:
    entries = _read(os.path.join(path, "state.json")).get("_data_files") or []
    try:
        files = tuple(os.path.join(path, os.path.basename(entry["filename"])) for entry in entries)
    except (TypeError, KeyError):
        files = ()
    if not files:
        raise BadDataset(f"{path}: state.json names no data files: a data set without rows, or a damaged one")
    return Source(files, "arrow")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise BadDataset(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise BadDataset(f"{path}: not a JSON object")
    return found


def _listed(folder: str, data_files: Any, split: str | None, format_: str | None) -> Source:
    if isinstance(data_files, Mapping):
        data_files = data_files[one_of(list(data_files), split, "data_files")]
        split = None
    names: Sequence[Any] = [data_files] if isinstance(data_files, (str, os.PathLike)) else list(data_files)
    paths = [os.path.join(folder, os.fspath(name)) for name in names]
    absent = [str(name) for name, path in zip(names, paths, strict=True) if not _files([path])]
    if absent or not paths:
        raise Missing(f"no such files: {', '.join(absent) or 'data_files names none'}")
    found = _files(paths)
    return Source(_of_one_split(found, split, "data_files"), format_ or _format(found))


def _files(patterns: Iterable[str]) -> list[str]:
    return [
        file
        for pattern in patterns
        for file in ([pattern] if os.path.isfile(pattern) else Search(pattern).matching(pattern))
    ]


def _split_of(files: list[str], split: str | None, path: str) -> Source:
    root = path if os.path.isdir(path) else os.path.dirname(path)
    splits: dict[str, list[str]] = {}
    for file in files:
        splits.setdefault(_split_name(os.path.relpath(file, root)), []).append(file)
    chosen = splits[one_of(list(splits), split, path)]
    return Source(tuple(chosen), _format(chosen))


def _of_one_split(files: list[str], split: str | None, path: str) -> tuple[str, ...]:
    """Files that were named themselves: "train", as `datasets` has it, or what all their names tell.

    Raises:
        Missing: another split is meant; what is there would be taken for it.
    """
    told = {_split_name(os.path.basename(file)) for file in files}
    if split not in (None, "train") and told != {split}:
        raise Missing(f"{path}: no split {split!r}", hint=f"there is {', '.join(sorted(told))}")
    return tuple(files)


def _split_name(name: str) -> str:
    """The split a file's name, or a folder's around it, tells of; "train" when none does, as `datasets` has it."""
    for part in reversed(name.split(os.sep)):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in WORDS:
                return WORDS[word]
    return "train"


def one_of(splits: list[str], split: str | None, path: str) -> str:
    """`split`, or the only one there is.

    Raises:
        Missing: it is not there.
        UsageError: there are several.
    """
    known = ", ".join(sorted(map(str, splits)))
    if split is None:
        if len(splits) != 1:
            raise UsageError(f"{path}: several splits", hint=f"give split as one of {known}")
        return splits[0]
    if split not in splits:
        raise Missing(f"{path}: no split {split!r}", hint=f"there is {known}" if known else "")
    return split


def format_of(name: str) -> str | None:
    stem, ending = os.path.splitext(name.lower())
    if ending in CODECS:
        found = FORMATS.get(os.path.splitext(stem)[1])
        return found if found in ("json", "text") else None
    return FORMATS.get(ending)


def _format(files: list[str]) -> str:
    formats = {str(format_of(file)): file for file in files}
    if len(formats) > 1:
        raise UsageError(f"files of several formats: {', '.join(sorted(formats.values()))}", hint="give data_files")
    (found,) = formats
    if found == "None":
        raise UsageError(f"{files[0]}: of no known format", hint=f"known are {' '.join(FORMATS)}")
    return found
