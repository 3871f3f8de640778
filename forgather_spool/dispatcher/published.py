"""What others may know of a host's dispatcher: the file it publishes, and whether one is awake.

For programs that look while a dispatcher works or sleeps. The file is a note of
the past (``last_seen_at``); the lock is the present.
"""

from __future__ import annotations

import os
from typing import Any

from forgather_spool import schema
from forgather_spool.dispatcher.wake import is_awake
from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.frozen import replace
from forgather_spool.host import proc
from forgather_spool.host.nvml import GpuReading, read_gpus
from forgather_spool.spool import files
from forgather_spool.spool.queue import Spool


def host_document(spool: Spool, host_name: str) -> dict[str, Any] | None:
    """What the host's dispatcher last published; None when it never did, or illegibly."""
    try:
        return schema.check(files.read_document(spool.paths.host(host_name)), schema.HOST)
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return None


def awake_pid(spool: Spool, host_name: str) -> int | None:
    """The dispatcher that is awake on this host, by the lock it holds and the pid it published. None: nobody is."""
    if not is_awake(spool.paths):
        return None
    published = host_document(spool, host_name)
    return None if published is None else published["dispatcher_pid"]


def cards_as_dispatched(spool: Spool, host_name: str) -> GpuReading:
    """This machine's cards now, `excluded` as this host's dispatcher has it.

    Its CUDA_VISIBLE_DEVICES counts, not the caller's; the caller's serves for
    cards it has not published since the machine was booted.
    """
    reading = read_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    published = host_document(spool, host_name)
    if published is None or published["boot_id"] != proc.boot_id():
        return reading
    excluded = {(card.get("index"), card.get("uuid")): card.get("excluded") is True for card in published["gpus"]}
    gpus = (replace(gpu, excluded=excluded.get((gpu.index, gpu.uuid), gpu.excluded)) for gpu in reading.gpus)
    return GpuReading(gpus=tuple(gpus), problem=reading.problem)
