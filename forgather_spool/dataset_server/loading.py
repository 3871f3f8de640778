"""Loading: from what the policy allowed to rows. Runs in a thread, and may take minutes the first time."""

from __future__ import annotations

import glob
import os

from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset_server.policy import Wanted, patterns_in
from forgather_spool.errors import Missing, UsageError

FORMATS = {".arrow": "arrow", ".parquet": "parquet", ".jsonl": "json", ".json": "json", ".txt": "text"}


def load(wanted: Wanted) -> Rows:
    """The rows of what is wanted.

    Raises:
        Missing: it is not on this host, and may not be fetched.
        UsageError: no such config, split or file in it.
        BadDataset: it cannot be read.
    """
    from forgather_spool.dataset.storage.opening import open_files

    if wanted.confined:
        check_inside(wanted.location, patterns_in(wanted.data_files))
    if wanted.source == "hf":
        raise Missing(f"{wanted.location} is not in the cache of this host")
    files, form = _files(wanted)
    return open_files(files, form)


def _files(wanted: Wanted) -> tuple[list[str], str]:
    place = wanted.location
    if not os.path.exists(place):
        raise Missing("there is nothing at that path")
    if os.path.isdir(place) and wanted.split and os.path.isdir(os.path.join(place, wanted.split)):
        place = os.path.join(place, wanted.split)
    found = [place]
    if os.path.isdir(place):
        patterns = patterns_in(wanted.data_files) or [f"*{ending}" for ending in FORMATS]
        whole = [glob.glob(os.path.join(glob.escape(place), pattern), recursive=True) for pattern in patterns]
        found = next((sorted(names) for names in whole if names), [])
    forms = {FORMATS.get(os.path.splitext(name)[1]) for name in found}
    form = forms.pop() if len(forms) == 1 else None
    if form is None:
        raise BadDataset("no data set there: expected .arrow, .parquet, .jsonl or .txt files of one kind")
    return found, form


def check_inside(folder: str, patterns: list[str]) -> None:
    """Raise UsageError unless every file that a pattern finds lies in `folder`, links followed."""
    whole = os.path.realpath(folder)
    for pattern in patterns:
        for found in glob.iglob(os.path.join(glob.escape(folder), pattern), recursive=True):
            real = os.path.realpath(found)
            if real != whole and not real.startswith(whole.rstrip("/") + "/"):
                raise UsageError("data_files: a link leads out of the data set's folder")


def offline(allow_downloads: bool) -> None:
    """Before `datasets` is imported, once for the whole process: a setting that changed with each load would race."""
    if not allow_downloads:
        os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
