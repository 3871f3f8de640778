"""Other people's packages, which `bin/forgather` has Python start without (-S).

To look for them takes 3 ms, half as long as a submit; so who needs one, and comes by
no other way than the light words of `entry.py`, looks for them first.
"""

from __future__ import annotations

import sys


def make_findable() -> None:
    """What Python does as it starts, unless told -S: its prefix, site-packages, .pth files, sitecustomize."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
