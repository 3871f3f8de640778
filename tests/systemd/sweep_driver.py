"""``python -m tests.systemd.sweep_driver PART PARTS``: the dispatcher's kill sweep of `tests/sweep`, inside a host.

Jobs run in real scopes here, so calls to the user manager are points as well. Prints what came of it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.sweep import walk


def main(part: int, parts: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ["HOME"]) as folder:
        carried = {name: os.environ[name] for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")}
        done = walk.dispatcher_walk(
            Path(folder), walk.kill, slice(part, None, parts), FORGATHER_HOST_KIND="systemd", **carried
        )
        print(json.dumps({"walked": done.walked, "hits": done.hits, "wrong": done.wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
