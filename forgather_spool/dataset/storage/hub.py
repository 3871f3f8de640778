"""Data sets of the Hugging Face hub: what lies prepared in the cache, and, where wanted, having it prepared.

The cache is read by its names alone, so that nothing is imported and no
environment variable is turned for a moment (which is seen by all threads):

    <root>/<namespace>___<name>/<config>/<version>/<hash>/<name>-<split>[-00000-of-00008].arrow
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from forgather_spool.dataset.storage.sources import Source, one_of
from forgather_spool.errors import ForgatherError, Missing, UsageError

SHARD = re.compile(r"-(?P<split>[A-Za-z0-9_.]+?)(-(?P<number>\d{5})-of-(?P<of>\d{5}))?\.arrow")
NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def cache_root() -> str:
    """Where the `datasets` library keeps what it prepared."""
    if root := os.environ.get("HF_DATASETS_CACHE"):
        return root
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    return os.path.join(home, "datasets")


def cached(
    path: str, name: str | None = None, split: str | None = None, revision: str | None = None, root: str | None = None
) -> Source | None:
    """The prepared files of `path`, the latest when there are several; None when there are none, or not all.

    Raises:
        UsageError: several configurations or splits, and none chosen.
    """
    if not NAME.fullmatch(path) or ".." in path:
        return None
    for folder in (path.replace("/", "___"), _snake(path)):
        configs = _folders(os.path.join(root or cache_root(), folder))
        if config := _chosen(configs, name, path):
            builds = [build for version in _folders(config) for build in _folders(version)]
            builds = [build for build in builds if revision is None or os.path.basename(build).startswith(revision)]
            for build in sorted(builds, key=os.path.getmtime, reverse=True):
                if found := _complete(build, split, path):
                    return found
    return None


def _snake(path: str) -> str:
    """As the library writes names: ``ns/CamelCase`` lies in ``ns___camel_case``."""
    namespace, slash, name = path.rpartition("/")
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name).lower()
    return f"{namespace}___{name}" if slash else name


def _folders(path: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(path) if entry.is_dir())
    except OSError:
        return []


def _chosen(configs: list[str], name: str | None, path: str) -> str | None:
    names = {os.path.basename(config): config for config in configs}
    if name is not None:
        return names.get(name)
    if len(names) > 1 and "default" not in names:
        raise UsageError(f"{path}: several configurations", hint=f"give name as one of {', '.join(names)}")
    return names.get("default") or next(iter(names.values()), None)


def _complete(build: str, split: str | None, path: str) -> Source | None:
    """The files of a split in one prepared folder; None when some are missing."""
    if build.endswith((".incomplete", ".lock")) or not os.path.isfile(os.path.join(build, "dataset_info.json")):
        return None
    splits: dict[str, list[str]] = {}
    expected: dict[str, int] = {}
    for entry in sorted(os.scandir(build), key=lambda entry: entry.name):
        if found := SHARD.search(entry.name):
            if entry.name.startswith(("cache-", "tmp")) or not entry.name.endswith(found[0]):
                continue
            splits.setdefault(found["split"], []).append(entry.path)
            expected[found["split"]] = int(found["of"] or 1)
    splits = {name: files for name, files in splits.items() if len(files) == expected[name]}
    if not splits or (split is not None and split not in splits):
        return None
    return Source(tuple(splits[one_of(list(splits), split, path)]), "arrow")


def prepared(path: str, name: str | None, split: str | None, options: Mapping[str, Any]) -> Any:
    """The data set as the `datasets` library loads it, which may download it. A `datasets.Dataset`.

    Raises:
        Missing: the library, or the data set, is not there or cannot be reached.
        UsageError: several splits and none chosen, or what the library says of the options.
    """
    try:
        import datasets
    except ImportError:
        raise Missing("the library datasets is not installed", hint="pip install 'forgather-spool[dataset]'") from None
    try:
        found = datasets.load_dataset(path, name, split=split, **options)
    except ForgatherError:
        raise
    except Exception as error:  # datasets raises what its readers, the hub and requests raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        kind = UsageError if isinstance(error, ValueError) and not isinstance(error, FileNotFoundError) else Missing
        raise kind(f"{path}: {reason}", hint="give a path, or the name of a data set on the hub") from None
    if isinstance(found, dict):
        found = found[one_of(list(found), split, path)]
    return found
