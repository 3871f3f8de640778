"""The `forgather` command for everything but the fast way through `submit`: click, its commands found by name.

A command's module is imported when the command is asked for; help for all of
them comes from the table here. click's own errors become ours, so that there
is one form for all.
"""

from __future__ import annotations

import sys

import click

from forgather_spool import __version__
from forgather_spool.errors import UsageError

PROGRAM = "forgather"
COMPLETE_VARIABLE = "_FORGATHER_COMPLETE"

COMMANDS: dict[str, tuple[str, str]] = {  # name: where it is defined under forgather_spool.cli, what it does
    "submit": ("submit.command:submit", "Put a command into the queue."),
    "sched": ("sched.command:sched", "Look at the queue; pause, cancel, clean up."),
    "job": ("job.command:job", "One job: its state, its output, its end."),
    "train": ("train.command:train", "Train what a project's config says, here or as a job."),
    "ls": ("train.configs:ls", "The configs of a project."),
    "show": ("train.configs:show", "A config as it is once everything is filled in."),
    "init": ("train.configs:init", "Write a starter project."),
    "control": ("control.command:control", "Ask a running trainer: where it is, to save, to stop."),
    "logs": ("logs_group:logs", "Look at what training runs logged."),
    "gpu": ("gpu.command:gpu", "The cards, and who may use them."),
    "dataset": ("dataset.command:dataset", "What is in a data set: examples, columns, sizes, lengths."),
    "dataset-server": ("dataset.server:dataset_server", "Serve data sets to training on other hosts."),
    "tls": ("machine.tls:tls", "Certificates for our servers: make, renew, exchange."),
    "top": ("top.command:top", "The queue, the cards and a log on one screen, with keys."),
    "metrics": ("machine.metrics:metrics", "The queue in numbers, for Prometheus."),
    "export": ("history:export_", "Write ended jobs to an archive."),
    "import": ("history:import_", "Take ended jobs out of an archive."),
    "doctor": ("machine.doctor:doctor", "Check this machine, and say how to mend it."),
    "dispatch": ("machine.dispatch:dispatch", "Run the dispatcher by hand."),
    "units": ("machine.units:units", "Have systemd start the dispatcher when there is work."),
    "completion": ("completion:completion", "Print what a shell needs to complete our words."),
}


class Commands(click.Group):
    """The commands of the table, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        import importlib

        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(f"forgather_spool.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"no such command: {args[0]}", hint=_suggestion(args[0]))
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.option("-t", "--config", metavar="CONFIG", help="A project's config, for train and show.")
@click.option("-p", "--project", metavar="DIR", help="The project's folder. [default: here]")
def app(config: str | None, project: str | None) -> None:
    """Queue training jobs on this machine's GPUs.

    Jobs are files under ~/.config/forgather ($FORGATHER_HOME); systemd runs
    them. There is nothing to start and nothing to administer.
    """


def run(words: list[str]) -> int:
    """The exit code of a command line. click's complaints are raised as UsageError."""
    stdout, stderr = sys.stdout, sys.stderr
    try:
        code = app.main(args=words, prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_code
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise _as_ours(error) from None
    except SystemExit as left:  # click's completion, and sys.exit in a command
        if sys.stdout is not stdout:  # click swallows a broken pipe and leaves this trace of it
            sys.stdout, sys.stderr = stdout, stderr
            raise BrokenPipeError from None
        code = left.code
    return code if isinstance(code, int) else 0


def _as_ours(error: click.ClickException) -> UsageError:
    message = error.format_message().partition(" (Did you mean")[0].partition(" Did you mean")[0].rstrip(".")
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else PROGRAM
    possible = getattr(error, "possibilities", None)
    hint = f"did you mean {' or '.join(sorted(possible))}?" if possible else f"{path} --help"
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _suggestion(word: str) -> str:
    import difflib

    close = difflib.get_close_matches(word, COMMANDS, n=1)
    return f"did you mean {PROGRAM} {close[0]}?" if close else f"{PROGRAM} --help lists them"
