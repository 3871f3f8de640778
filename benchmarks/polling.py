"""What `trainer` runs, alone or in each rank under torchrun: how long polls take when nobody asks for anything.

Prints one JSON object of samples in µs, each the mean of a batch of steps:
`poll_us`, and in several ranks `broadcasts_us`: two broadcasts of one number
from rank 0, which is what the predecessor did at each log.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from forgather_spool.trainer import TrainerControl

BATCH, BROADCASTS = 1000, 100


def main() -> None:
    steps = int(sys.argv[1])
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    broadcast = _start_broadcasting() if together else None
    control = TrainerControl("polls", enable_http=False)
    found: dict[str, list[float]] = {"poll_us": []}
    for first in range(0, steps, BATCH):
        begin = time.perf_counter()
        for step in range(first, first + BATCH):
            control.poll(step)
        found["poll_us"].append((time.perf_counter() - begin) / BATCH * 1e6)
        if broadcast is not None:
            begin = time.perf_counter()
            for _ in range(BROADCASTS):
                broadcast()
            found.setdefault("broadcasts_us", []).append((time.perf_counter() - begin) / BROADCASTS * 1e6)
    if control.rank == 0:
        print(json.dumps(found))
    control.close()


def _start_broadcasting() -> Callable[[], None]:
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    flag = torch.zeros(1)

    def twice() -> None:
        distributed.broadcast(flag, 0)
        distributed.broadcast(flag, 0)

    return twice


main()
