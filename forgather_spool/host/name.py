"""What this machine is called. By itself, since each submit asks for it; others know it as `proc.host_name`."""

from __future__ import annotations

import os


def host_name() -> str:
    """This machine's short name, of ``[a-z0-9-]`` only. ``FORGATHER_HOST`` overrules it."""
    name = os.environ.get("FORGATHER_HOST") or os.uname().nodename.partition(".")[0]
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return plain.strip("-") or "localhost"
