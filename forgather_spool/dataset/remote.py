"""Rows of a dataset server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forgather_spool.dataset.rows import Rows
from forgather_spool.errors import Missing


def remote_rows(servers: str, request: Mapping[str, Any], token: str | None) -> Rows:
    """The rows of `request` (as POST /v1/load takes it) from `servers`: a URL, several with commas, or ``auto``."""
    raise Missing(f"{servers}: rows of a server cannot be read yet", hint="unset FORGATHER_DATASET_SERVER")
