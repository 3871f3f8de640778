"""`forgather submit` for click, made from the table in `options.py`: its help, completion and usage errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from forgather_spool.cli.submit.options import OPTIONS, Given, Option

HELP = """Put a command into the queue.

The current directory and a chosen part of the environment go with it: PATH,
what Python, CUDA, NCCL and the training libraries read, and nothing whose name
looks secret. Sizes are powers of 1024. Options end at `--` or at the first word
that is none of them.

The arguments of a running command are visible to others on this machine and
stay in the journal: pass secrets with --env NAME.

\b
Examples:
  forgather submit --gpus 2 --time 12h -- python train.py --lr 3e-4
  forgather submit --script prepare.sh
  echo '#!/bin/sh
  sleep 5' | forgather submit --script -
"""


def parameters(names: tuple[str, ...]) -> list[click.Option]:
    """Options of the table for another command that submits; `collect` reads what it was given."""
    return [_parameter(option) for option in OPTIONS if option.name in names]


def submit_options(names: tuple[str, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same for a command made with decorators."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for option in OPTIONS if option.name in names]):
            command = click.option(f"--{option.name}", **_attributes(option))(command)
        return command

    return add


def _parameter(option: Option) -> click.Option:
    return click.Option([f"--{option.name}", option.name.replace("-", "_")], **_attributes(option))


def _attributes(option: Option) -> dict[str, Any]:
    return {
        "metavar": option.metavar or None,
        "is_flag": True if not option.metavar else None,  # False would make the value optional
        "multiple": option.repeats,
        "type": _type_of(option),
        "help": option.help,
    }


def _type_of(option: Option) -> click.ParamType[Any] | None:
    """Only for completion: every value stays the text it was."""
    kind = {"DIR": click.Path(), "FILE": click.Path(), "FILE|-": click.Path()}.get(option.metavar, click.STRING)
    return kind if option.metavar else None


def collect(values: Mapping[str, object]) -> Given:
    """What click found, as `options.split` gives it; what the command does not have was not given."""
    given: Given = {}
    for option in OPTIONS:
        value = values.get(option.name.replace("-", "_"))
        if isinstance(value, tuple):
            value = list(value)
        if value not in (None, False, []):
            given[option.name] = value
    return given


def _run(cmd: tuple[str, ...], **values: object) -> int:
    from forgather_spool.cli.submit import run

    return run.run(collect(values), list(cmd))


submit = click.Command(
    "submit",
    params=[
        *map(_parameter, OPTIONS),
        click.Argument(["cmd"], metavar="[--] CMD [ARG]...", nargs=-1, type=click.UNPROCESSED),
    ],
    callback=_run,
    help=HELP,
    short_help="Put a command into the queue.",
    context_settings={"allow_interspersed_args": False},
)
