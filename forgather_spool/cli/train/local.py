"""A training here and now: it takes the place of this process, so Ctrl-C and the exit code are its own."""

from __future__ import annotations

import os
import shlex
import sys

import click

from forgather_spool.errors import Missing, UsageError
from forgather_spool.training.config import Command, Config, Train
from forgather_spool.training.launch import Launch, check_libraries, planned, write_handover

CPU = "cpu"


def run(config: Config, *, devices: str | None, resume: str | None, dry_run: bool) -> int:
    """Become the training. Returns only for `dry_run`, having shown the command.

    Raises:
        UsageError: devices that cannot be meant.
        Missing: there is no such program.
    """
    launch = planned(config, os.environ, resume=resume)
    env = dict(launch.env) | _visible(config, launch, devices)
    if dry_run:
        click.echo(as_line(launch, env))
        return 0
    check_libraries(config)
    if isinstance(config.program, Train):
        write_handover(config)
    os.chdir(launch.cwd)
    sys.stdout.flush()
    try:
        os.execvpe(launch.argv[0], launch.argv, os.environ | env)
    except OSError as error:
        raise Missing(f"{launch.argv[0]}: {error.strerror}", hint="see the config's command or python") from None


def as_line(launch: Launch, env: dict[str, str]) -> str:
    """What to type in a shell for the same."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(env.items())]
    return f"cd {shlex.quote(launch.cwd)} && {' '.join([*variables, shlex.join(launch.argv)])}"


def _visible(config: Config, launch: Launch, devices: str | None) -> dict[str, str]:
    """CUDA_VISIBLE_DEVICES as asked; as it stands, when nothing was said."""
    if devices is None:
        return {"CUDA_VISIBLE_DEVICES": ""} if launch.gpus == 0 else {}
    if devices == CPU:
        return {"CUDA_VISIBLE_DEVICES": ""}
    cards = devices.split(",")
    if not all(card.isdecimal() or card.startswith(("GPU-", "MIG-")) for card in cards) or len(set(cards)) < len(cards):
        raise UsageError(f"--devices {devices}: expected indices such as 0,1, UUIDs, or the word {CPU}")
    if not isinstance(config.program, Command) and len(cards) < config.nproc_per_node:
        raise UsageError(
            f"--devices {devices}: {len(cards)} for {config.nproc_per_node} processes",
            hint="each needs a card of its own",
        )
    return {"CUDA_VISIBLE_DEVICES": devices}
