"""Who asks: the name that stands in a cancelled job's outcome."""

from __future__ import annotations

import os


def who() -> str:
    """The user's name; the number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user id {os.geteuid()}"
