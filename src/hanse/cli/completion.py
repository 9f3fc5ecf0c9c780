"""`hanse completion`: the script that makes a shell complete verbs, options, targets and operations."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_HANSE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, /, *, shell: str) -> None:
    r"""Print what makes SHELL complete commands of hanse.

    \b
    bash, in ~/.bashrc:                eval "$(hanse completion bash)"
    zsh, in ~/.zshrc, after compinit:  eval "$(hanse completion zsh)"
    fish:                              hanse completion fish > ~/.config/fish/completions/hanse.fish
    """
    found = get_completion_class(shell)
    assert found is not None, shell
    click.echo(found(context.find_root().command, {}, "hanse", VARIABLE).source())
