"""`forgather ls`, `show` and `init`: the configs of a project, looked at and begun."""

from __future__ import annotations

import os
from typing import Any

import click

from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.show import shown
from forgather_spool.cli.table import render, terminal_width
from forgather_spool.cli.train.project import chosen_config, configs_of, project_folder
from forgather_spool.cli.train.starter import FILES
from forgather_spool.errors import BadArgument, ForgatherError, UsageError
from forgather_spool.training import yaml_file
from forgather_spool.training.arguments import Argument
from forgather_spool.training.config import given_values, resolve
from forgather_spool.training.config_fields import PROGRAMS
from forgather_spool.training.config_file import Source, load, merged


@click.command()
@click.option("--json", "json_", is_flag=True, help="One JSON object.")
@click.pass_context
def ls(ctx: click.Context, json_: bool) -> None:
    """The configs of a project, each with its description.

    `-` stands for one that says nothing to run: others extend it. A config that
    cannot be read is listed with what is wrong.
    """
    folder = project_folder(ctx)
    found = [_summary(folder, name) for name in configs_of(folder)]
    if json_:
        click.echo(as_json({"version": 1, "project": folder, "configs": found}))
        return
    rows = [(shown(row["config"]), row["runs"] or "-", shown(row["error"] or row["description"])) for row in found]
    lines = render(("Config", "Runs", "Description"), rows, width=terminal_width(), name_column=0)
    click.echo("\n".join(lines) or f"no configs in {shown(folder)}; forgather init writes a starter project")


def _summary(folder: str, name: str) -> dict[str, Any]:
    try:
        source = load(os.path.join(folder, name), folder)
    except ForgatherError as error:
        return {"config": name, "runs": None, "description": "", "error": str(error)}
    whole = merged([layer for _, layer in source.layers])
    runs = next((program for program in PROGRAMS if program in whole), None)
    return {"config": name, "runs": runs, "description": whole.get("description", ""), "error": None}


@click.command()
@click.option("--args", "only_arguments", is_flag=True, help="Only the dynamic arguments: name, type, default, bounds.")
@click.option("--dynamic-arg", multiple=True, metavar="K=V", help="Set a dynamic argument.")
@click.option("--json", "json_", is_flag=True, help="JSON in place of YAML.")
@click.pass_context
def show(ctx: click.Context, only_arguments: bool, dynamic_arg: tuple[str, ...], json_: bool) -> None:
    """A config with everything filled in: what `train` would run.

    Where a required argument is not given, --dynamic-arg gives it.
    """
    source = chosen_config(ctx)
    document = _arguments(source) if only_arguments else _resolved(source, dynamic_arg)
    click.echo(as_json(document) if json_ else yaml_file.written(document), nl=json_)


def _arguments(source: Source) -> dict[str, Any]:
    return {argument.name: _declaration(argument) for argument in source.arguments}


def _declaration(argument: Argument) -> dict[str, Any]:
    facts = {
        "type": argument.type, "default": argument.default, "required": argument.required or None,
        "min": argument.minimum, "max": argument.maximum, "choices": list(argument.choices) or None,
        "help": argument.help or None,
    }  # fmt: skip
    return {name: fact for name, fact in facts.items() if fact is not None}


def _resolved(source: Source, pairs: tuple[str, ...]) -> dict[str, Any]:
    try:
        config = resolve(source, given_values(source.arguments, pairs), os.environ)
    except BadArgument as error:
        name = next((a.name for a in source.arguments if a.required), "NAME")
        raise BadArgument(str(error), hint=f"--dynamic-arg {name}=...; --args lists them") from None
    return {key: value for key, value in config.as_document().items() if value not in (None, {}, "")}


@click.command()
@click.argument("folder", metavar="[DIR]", default=".")
def init(folder: str) -> None:
    """Write a starter project: a config that trains a small model on the Python standard library's sources.

    What is there already stays as it is: if one of the files stands, nothing is written.
    """
    folder = os.path.abspath(os.path.expanduser(folder))
    standing = [name for name in FILES if os.path.lexists(os.path.join(folder, name))]
    if standing:
        raise UsageError(f"{folder} has a {standing[0]} already", hint="name another folder: forgather init DIR")
    try:
        os.makedirs(folder, exist_ok=True)
        for name, text in FILES.items():
            with open(os.path.join(folder, name), "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(
            f"{error.filename}: {error.strerror}", hint="name another folder: forgather init DIR"
        ) from None
    for name in FILES:
        click.echo(f"wrote {shown(os.path.join(folder, name))}")
    click.echo(f"next:  cd {shown(folder)} && forgather -t train.yaml train")
