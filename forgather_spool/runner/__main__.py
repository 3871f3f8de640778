"""``python -E -s -S forgather_spool/runner/__main__.py FD HOME``: the nursery. `client.Nursery` starts it.

By its path and without `site`: ``-m`` brings in runpy, which every runner would
carry along (1.1 MB), and `site` reads every .pth file of the environment.
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from forgather_spool.importing import hasten  # noqa: E402

hasten()

from forgather_spool.runner.nursery import serve  # noqa: E402

serve(int(sys.argv[1]), sys.argv[2])
