"""Durable files: the only place that calls fsync, link, rename and mkdir for the spool.

Acknowledged means: written to a temporary file, fsynced, renamed or linked
into place, and the directory fsynced. A file appears whole or not at all, also
after a power cut (measured: without, 42 % to 100 % of acknowledged jobs were
lost).

What the file system refuses (full, read-only, over quota, I/O error) becomes
StorageFailed with the old state intact. FileExistsError and FileNotFoundError
stay what they are: they are answers, not failures.

    reading    bounded, of our own regular files only; absent is not the same as not to be seen now
    syncing    fsync, of contents and of names
    writing    a file appears whole or not at all
    moving     renames, marks, directories
    together   many files, one sync; imported by its own name
    writer     a second process that creates them; imported by its own name
"""

from __future__ import annotations

from forgather_spool.spool.files.moving import (
    discard,
    discard_folder,
    exchange,
    make_directory,
    make_folder_once,
    move,
    remove_directory,
    remove_tree,
    take_name,
)
from forgather_spool.spool.files.reading import (
    check_private,
    content_identity,
    exists,
    failed,
    identity,
    is_directory,
    names,
    read_bytes,
    read_document,
    some_names,
)
from forgather_spool.spool.files.syncing import (
    DIR_MODE,
    FILE_MODE,
    make_durable,
    make_names_durable,
    make_private,
    sync,
    sync_directory,
    sync_names,
)
from forgather_spool.spool.files.writing import (
    is_temporary_name,
    mark,
    note,
    publish,
    replace,
    replace_bytes,
    temporary_name,
    write_bytes_once,
    write_once,
    write_once_in_one_commit,
    writer_is_gone,
)

__all__ = [
    "DIR_MODE",
    "FILE_MODE",
    "check_private",
    "content_identity",
    "discard",
    "discard_folder",
    "exchange",
    "exists",
    "failed",
    "identity",
    "is_directory",
    "is_temporary_name",
    "make_directory",
    "make_durable",
    "make_folder_once",
    "make_names_durable",
    "make_private",
    "mark",
    "move",
    "names",
    "note",
    "publish",
    "read_bytes",
    "read_document",
    "remove_directory",
    "remove_tree",
    "replace",
    "replace_bytes",
    "some_names",
    "sync",
    "sync_directory",
    "sync_names",
    "take_name",
    "temporary_name",
    "write_bytes_once",
    "write_once",
    "write_once_in_one_commit",
    "writer_is_gone",
]
