"""Any training loop under control: three lines, marked (1) to (3).

forgather submit --name loop -- python train.py
forgather job save loop; forgather job stop loop
"""

import argparse
import os

import torch

from forgather_spool.trainer import TrainerControl


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", default="checkpoints")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    # (1) In a job, `job kill` and a time limit then mean "save, then stop".
    with TrainerControl(max_steps=options.steps, output_dir=options.out, on_sigterm="save_and_stop") as control:
        for step in range(1, options.steps + 1):
            x = torch.rand(256, 2) * 6 - 3
            loss = (model(x) - (x[:, :1].sin() * x[:, 1:].cos())).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            if step % 50 == 0:
                control.report(loss=loss.item())  # (2) what `job status` shows; .item() only when you log anyway
                print(f"step {step}/{options.steps}  loss {loss.item():.4f}", flush=True)
            if control.poll(step):  # (3) once a step; 0.1 microseconds when nobody asked
                if control.should_save:
                    save(control, model, options.out, step)
                if control.should_stop:
                    break


def save(control: TrainerControl, model: torch.nn.Module, folder: str, step: int) -> None:
    """Say how it went: whoever asked is waiting for the answer."""
    path = os.path.join(folder, f"step-{step}.pt")
    try:
        os.makedirs(folder, exist_ok=True)
        torch.save(model.state_dict(), path + ".partial")
        os.replace(path + ".partial", path)
    except OSError as error:
        control.save_failed(error)
    else:
        control.saved(path)


if __name__ == "__main__":
    main()
