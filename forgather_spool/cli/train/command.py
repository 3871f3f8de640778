"""`forgather -t CONFIG train`: run a project's training here, or put it into the queue.

The config's dynamic arguments become options of the command, so `--help` shows
them with type, bounds, choices and default. Parses; `local` and
`queue` do it.
"""

from __future__ import annotations

import os
from typing import Any

import click

from forgather_spool.cli.submit.command import collect, parameters
from forgather_spool.cli.submit.options import FOR_A_NEW_JOB
from forgather_spool.cli.train.project import chosen_config
from forgather_spool.errors import BadDocument, ForgatherError, UsageError
from forgather_spool.training.arguments import Argument, Value
from forgather_spool.training.config import given_values, resolve
from forgather_spool.training.config_file import Source
from forgather_spool.training.launch import LATEST

HELP = """Train what the config says, here and now, or with --enqueue as a job.

Arguments that the config leaves open are options of their own; --help after
-t CONFIG shows them. Here, the training takes this terminal's place; in the
queue it gets as many cards as it has processes, unless --requested-gpus or the
config's `gpus` says otherwise.

\b
Examples:
  forgather -t train.yaml train --learning-rate 3e-4
  forgather -t train.yaml train -d 0,1
  forgather -t train.yaml train --enqueue --priority 5 --time 12h
  forgather -t train.yaml train --resume
"""
QUEUE_ONLY = ("priority", "requested_gpus", "time", "name", "tty", "env")
QUEUE_ORDER = tuple(name.replace("-", "_") for name in FOR_A_NEW_JOB)

_OPTIONS = (
    click.Option(["-d", "--devices"], metavar="N[,N]...", help="Cards to train on, here: 0,1; or the word cpu."),
    click.Option(["--resume"], is_flag=False, flag_value=LATEST, metavar="[CHECKPOINT]",
                 help="Go on from a checkpoint; without a path from the latest."),
    click.Option(["--dynamic-arg"], multiple=True, metavar="K=V", help="Set a dynamic argument by its name."),
    click.Option(["--dry-run"], is_flag=True, help="Show the command and do nothing."),
    click.Option(["--enqueue"], is_flag=True, help="Put it into the queue, and return."),
    click.Option(["--priority"], type=int, metavar="N", help="Queue: higher starts first. [default: 0]"),
    click.Option(["--requested-gpus"], type=click.IntRange(min=0), metavar="N",
                 help="Queue: how many cards; 0: on the CPU."),
    click.Option(["--time"], metavar="D", help="Queue: stop it after this long, e.g. 12h; it saves first."),
    click.Option(["--name"], metavar="NAME", help="Queue: the job's name. [default: the config's]"),
    click.Option(["--tty"], is_flag=True, help="Queue: give it a terminal: a progress bar in place of lines."),
    click.Option(["--env"], multiple=True, metavar="K=V|NAME", help="Queue: set a variable, or copy NAME from here."),
    *parameters(FOR_A_NEW_JOB),
)  # fmt: skip


class TrainCommand(click.Command):
    """Its options, and those of the config that was named before it."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        if ctx.find_root().params.get("config") is None:
            return own
        if "forgather.source" not in ctx.meta:
            try:
                ctx.meta["forgather.source"] = chosen_config(ctx)
            except ForgatherError:
                if ctx.resilient_parsing:  # a shell completes a word: no place for our complaints
                    return own
                raise
            _refuse_taken_names(ctx.meta["forgather.source"], own)
        source: Source = ctx.meta["forgather.source"]
        return [*own, *(_option(argument) for argument in source.arguments)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = self.get_params(ctx)
        for title, dynamic in (("Options", False), ("Dynamic arguments of this config", True)):
            records = [param.get_help_record(ctx) for param in params if isinstance(param, DynamicOption) == dynamic]
            found = [record for record in records if record is not None]
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


class DynamicOption(click.Option):
    """An option a config asks for. Its text is understood by the config's own rules, which name the flag."""


def _option(argument: Argument) -> click.Option:
    destination = f"dynamic_{argument.name}"
    help = " ".join(part for part in (argument.help, _limits(argument)) if part)
    if argument.type == "bool":
        negative = f"--no-{argument.flag.removeprefix('--')}"
        return DynamicOption([f"{argument.flag}/{negative}", destination], default=None, help=help)
    return DynamicOption([argument.flag, destination], metavar=argument.type.upper(), help=help)


def _limits(argument: Argument) -> str:
    """What help says after the sentence: ``[0<=x<=1; default: 0.001]``."""
    said = []
    if argument.choices:
        said.append(" or ".join(map(str, argument.choices)))
    low = "" if argument.minimum is None else f"{argument.minimum:g}<="
    high = "" if argument.maximum is None else f"<={argument.maximum:g}"
    if low or high:
        said.append(f"{low}x{high}")
    if argument.required:
        said.append("required")
    elif argument.default is not None:
        said.append(f"default: {str(argument.default).lower() if argument.type == 'bool' else argument.default}")
    return f"[{'; '.join(said)}]" if said else ""


def _refuse_taken_names(source: Source, own: list[click.Parameter]) -> None:
    taken = {flag for param in own for flag in param.opts}
    for argument in source.arguments:
        if argument.flag in taken:
            raise BadDocument(
                f"{source.name}: $.dynamic_args.{argument.name}",
                f"`forgather train` has an option {argument.flag} of its own",
                hint="choose another name",
            )


def _run(
    enqueue: bool, devices: str | None, resume: str | None, dynamic_arg: tuple[str, ...], dry_run: bool, **options: Any
) -> int:
    ctx = click.get_current_context()
    source: Source = ctx.meta.get("forgather.source") or chosen_config(ctx)
    given = given_values(source.arguments, dynamic_arg) | _given(source, options)
    config = resolve(source, given, os.environ)
    _refuse_mixed(enqueue, devices, options)
    if enqueue:
        from forgather_spool.cli.train import queue

        asked = {name: options[name] for name in QUEUE_ONLY}
        asked["order"] = collect({name: options[name] for name in QUEUE_ORDER})
        return queue.enqueue(config, asked, resume=_resume(resume), dry_run=dry_run)
    from forgather_spool.cli.train import local

    return local.run(config, devices=devices, resume=_resume(resume), dry_run=dry_run)


def _given(source: Source, options: dict[str, Any]) -> dict[str, Value]:
    given: dict[str, Value] = {}
    for argument in source.arguments:
        value = options.get(f"dynamic_{argument.name}")
        if value is not None:
            given[argument.name] = argument.checked(value) if isinstance(value, bool) else argument.parsed(value)
    return given


def _refuse_mixed(enqueue: bool, devices: str | None, options: dict[str, Any]) -> None:
    if enqueue and devices is not None:
        raise UsageError(
            "--enqueue with -d/--devices: the queue chooses the cards", hint="say how many: --requested-gpus N"
        )
    for name in (*QUEUE_ONLY, *QUEUE_ORDER):
        if not enqueue and options[name] not in (None, False, ()):
            raise UsageError(f"--{name.replace('_', '-')} is for a job", hint="add --enqueue")


def _resume(given: str | None) -> str | None:
    """A path made absolute; LATEST as it is."""
    return given if given in (None, LATEST) else os.path.abspath(os.path.expanduser(given))


train = TrainCommand(
    "train", params=list(_OPTIONS), callback=_run, help=HELP, short_help="Train what a config says, here or as a job."
)
