"""Loading: from what the policy allowed to rows. Runs in a thread, and may take minutes the first time."""

from __future__ import annotations

import glob
import os

from forgather_spool.dataset.local import local_rows
from forgather_spool.dataset.progress import plain_lines
from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset.storage.search import Search
from forgather_spool.dataset_server.memory import give_back
from forgather_spool.dataset_server.policy import Wanted, patterns_in
from forgather_spool.errors import UsageError


def load(wanted: Wanted, *, downloads: bool = False) -> Rows:
    """The rows of what is wanted.

    Raises:
        Missing: it is not on this host, and may not be fetched.
        UsageError: no such config, split or file in it.
        BadDataset: it cannot be read.
    """
    if wanted.confined:
        check_inside(wanted.location, patterns_in(wanted.data_files))
    try:
        return local_rows(
            wanted.location,
            wanted.name,
            wanted.split,
            wanted.data_files,
            wanted.revision,
            on_hub=wanted.source == "hf",
            downloads=downloads,
            progress=plain_lines(),
        )
    finally:
        give_back()  # an index may have been built: that takes some memory once


def check_inside(folder: str, patterns: list[str]) -> None:
    """Raise UsageError unless every file that a pattern finds lies in `folder`, links followed."""
    whole = os.path.realpath(folder)
    for pattern in patterns:
        by_name = [path] if os.path.isfile(path := os.path.join(folder, pattern)) else []  # whatever letters it has
        for found in by_name + Search(pattern).matching(os.path.join(glob.escape(folder), pattern)):
            real = os.path.realpath(found)
            if real != whole and not real.startswith(whole.rstrip("/") + "/"):
                raise UsageError("data_files: a link leads out of the data set's folder")


def offline(allow_downloads: bool) -> None:
    """Before `datasets` is imported, once for the whole process: a setting that changed with each load would race."""
    if not allow_downloads:
        os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
