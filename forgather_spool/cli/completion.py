"""`forgather completion`: the script with which a shell completes our words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what SHELL needs to complete forgather's words.

    \b
    bash:  forgather completion bash > ~/.local/share/bash-completion/completions/forgather
    zsh:   forgather completion zsh  > a folder of your $fpath, as _forgather
    fish:  forgather completion fish > ~/.config/fish/completions/forgather.fish
    """
    from forgather_spool.cli.app import COMPLETE_VARIABLE, PROGRAM, app

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(app, {}, PROGRAM, COMPLETE_VARIABLE).source())
