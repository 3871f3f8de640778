"""Opening a file by any name, its packing taken off. pyarrow opens by names in UTF-8 only; others come as bytes."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}


def unpacked(path: str) -> Any:
    """A file to read from, of what is packed in `path`, or of itself when its name tells of no packing."""
    file = pa.OSFile(os.fsencode(path))
    codec = CODECS.get(os.path.splitext(path.lower())[1])
    return file if codec is None else pa.CompressedInputStream(file, codec)
