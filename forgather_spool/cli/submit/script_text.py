"""`submit --script`: a script whose text travels with the job, so that what runs is what was submitted."""

from __future__ import annotations

import os
import sys

from forgather_spool.document import MAX_DOCUMENT_BYTES, Document
from forgather_spool.errors import UsageError


def add_to(document: Document, path: str, words: list[str]) -> None:
    """Put the script in `path` into the spec; `words` are its arguments. Raises UsageError: it cannot be one."""
    text = _text_of(path)
    if not text.startswith("#!"):
        raise UsageError(
            f"--script {path}: does not begin with #!", hint="make its first line #!/bin/sh, or what runs it"
        )
    document["script"] = text
    document["argv"] = ["script" if path == "-" else os.path.basename(path), *words]


def _text_of(path: str) -> str:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_DOCUMENT_BYTES + 1)
        return data.decode()
    except AttributeError:
        raise UsageError("--script -: stdin is closed", hint="pipe the script in") from None
    except OSError as error:
        raise UsageError(f"--script {path}: {error.strerror}", hint="give a file, or - for stdin") from None
    except ValueError:
        raise UsageError(f"--script {path}: is not UTF-8 text", hint="submit a program as a command instead") from None
