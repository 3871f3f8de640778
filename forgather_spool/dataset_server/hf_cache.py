"""What the Hugging Face cache of this host holds, read from its folders alone.

    <root>/<namespace>___<repo>/<config>/<version>/<hash>/dataset_info.json

Looks at the disk at most every few seconds, however often it is asked.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator

from forgather_spool.dataset.storage.hub import cache_root
from forgather_spool.document import Document

FRESH_S = 10.0
MAX_INFO_BYTES = 16 << 20
CLOSED: Document = {"cache_root": "", "datasets": []}  # with --no-hf: what nobody may load is not listed
_lock = threading.Lock()
_last: tuple[float, Document] | None = None


def listed() -> Document:
    """``{cache_root, datasets: [{repo, size_bytes, configs: [...]}]}``, at most `FRESH_S` old."""
    global _last
    with _lock:
        if _last is None or time.monotonic() - _last[0] > FRESH_S:
            _last = (time.monotonic(), look(cache_root()))
        return _last[1]


def look(folder: str) -> Document:
    """The same, of `folder`, now. What cannot be read is left out."""
    datasets: list[Document] = []
    for name in sorted(_folders(folder)):
        configs = list(_configs(os.path.join(folder, name)))
        if configs:
            size = sum(size for one in configs if isinstance(size := one["size_bytes"], int))
            datasets.append({"repo": name.replace("___", "/", 1), "size_bytes": size, "configs": configs})
    return {"cache_root": folder, "datasets": datasets}


def _configs(folder: str) -> Iterator[Document]:
    for config in sorted(_folders(folder)):
        for version in sorted(_folders(os.path.join(folder, config))):
            for made in sorted(_folders(os.path.join(folder, config, version))):
                place = os.path.join(folder, config, version, made)
                info = _info(os.path.join(place, "dataset_info.json"))
                if info is None:
                    continue
                splits = info.get("splits")
                yield {
                    "config": config,
                    "version": version,
                    "size_bytes": _size(place),
                    "splits": [_split(name, about) for name, about in splits.items()]
                    if isinstance(splits, dict)
                    else [],
                }


def _split(name: str, about: object) -> Document:
    known = about if isinstance(about, dict) else {}
    numbers = {key: known.get(key) for key in ("num_examples", "num_bytes")}
    return {"name": str(name), **{key: value if isinstance(value, int) else None for key, value in numbers.items()}}


def _info(path: str) -> Document | None:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(MAX_INFO_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _size(path: str) -> int:
    try:
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())
    except OSError:
        return 0
