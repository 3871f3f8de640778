"""Two ranks under control: all of them act on a command at the same step.

    forgather submit --name ranks -- torchrun --standalone --nproc-per-node 2 train.py
    forgather job save ranks; forgather job stop ranks

On a machine with two cards: `forgather submit --gpus 2 ...` (the backend is NCCL then).
"""

import argparse
import os
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from forgather_spool.trainer import TrainerControl


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--out", default="checkpoints")
    parser.add_argument("--slow-rank-s", type=float, default=0.0, help="rank 1 takes this much longer a step")
    options = parser.parse_args()

    on_cards = torch.cuda.is_available()
    dist.init_process_group("nccl" if on_cards else "gloo")
    rank = dist.get_rank()
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if on_cards else "cpu")
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(16, 1).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)

    # Made in every rank, after init_process_group; only rank 0 reads commands.
    with TrainerControl(max_steps=options.steps, output_dir=options.out, on_sigterm="save_and_stop") as control:
        for step in range(1, options.steps + 1):
            time.sleep(options.slow_rank_s if rank == 1 else 0)
            x = torch.randn(64, 16, device=device)
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()  # a collective; so a command must find all ranks at the same step
            optimizer.step()
            if step % 100 == 0:
                control.report(loss=loss.item())

            if control.poll(step):
                print(f"rank {rank} at step {step}: save={control.should_save} stop={control.should_stop}", flush=True)
                if control.should_save:
                    if rank == 0:
                        os.makedirs(options.out, exist_ok=True)
                        torch.save(model.module.state_dict(), f"{options.out}/step-{step}.pt")
                    dist.barrier()
                    control.saved(f"{options.out}/step-{step}.pt")
                if control.should_stop:
                    break
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
