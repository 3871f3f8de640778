"""Two ranks that share no collective; rank 1 leaves after 20 steps and stays around until rank 0 has ended."""

from __future__ import annotations

import time

import torch.distributed as dist

from forgather_spool.trainer import TrainerControl

LEAVES_AFTER = 20


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    with TrainerControl(max_steps=1_000_000) as control:
        for step in range(1, 1_000_000):
            time.sleep(0.005)
            if control.poll(step):
                if control.should_save:
                    control.saved(f"step-{step}")
                if control.should_stop:
                    break
            if rank == 1 and step == LEAVES_AFTER:
                break
    print(f"rank {rank} has left", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
