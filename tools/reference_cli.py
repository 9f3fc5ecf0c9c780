"""Writes docs/reference/cli.md from the commands themselves; see reference.py."""

# ruff: noqa: D103 - a script, whose functions are named for what they write

import inspect
from collections.abc import Iterator

import click

from hanse.cli.advice import EXIT_CODES
from hanse.cli.group import VERBS, hanse

COMMON = frozenset({"quiet", "verbose", "no_color", "json_wanted", "pairs", "env"})
"""Parameters that many verbs share, told once."""


def cli_page() -> str:
    """All verbs, what they take, and what they have in common."""
    context = click.Context(hanse, info_name="hanse")
    head = (
        "# The command line\n\n"
        "`hanse VERB --help` tells the same.\n"
        "Results go to standard output, all else to standard error.\n"
        "Nothing asks questions: what a verb needs to know is an argument, an option or a setting.\n"
    )
    verbs = [(name, hanse.get_command(context, name)) for name in VERBS]
    shared = dict(option_row(one) for _, command in verbs if command for one in options_of(command, shared=True))
    parts = [*overview(), *common_part(shared), *exit_codes()]
    for name, command in verbs:
        assert command is not None
        parts += command_part(f"hanse {name}", command)
    return "\n".join([head, *parts])


def overview() -> Iterator[str]:
    yield "| verb | what it does |\n|---|---|"
    yield from (f"| [`{name}`](#hanse-{name}) | {verb.help} |" for name, verb in VERBS.items())
    yield ""


def common_part(shared: dict[str, str]) -> Iterator[str]:
    yield "## What verbs have in common\n"
    yield (
        "`NO_COLOR` and `FORCE_COLOR` are honoured; without a terminal there is no colour and no line that is drawn "
        "anew.\nA verb that reads settings takes `--set` and `--env`; one that tells something takes `--json`.\n"
    )
    yield "| option | meaning |\n|---|---|"
    yield from (f"| {name} | {text} |" for name, text in shared.items())
    yield ""


def exit_codes() -> Iterator[str]:
    yield "## Exit codes of all verbs\n\n| code | meaning |\n|---|---|"
    yield from (f"| {code} | {meaning} |" for code, (meaning, _) in EXIT_CODES.items())
    yield ""


def command_part(name: str, command: click.Command) -> Iterator[str]:
    yield f"## {name}\n" if name.count(" ") == 1 else f"### {name}\n"
    usage = " ".join([name, *(metavar(one) for one in command.params if isinstance(one, click.Argument))])
    if isinstance(command, click.Group):
        usage += " COMMAND"
    yield f"```\n{usage}\n```\n"
    yield prose(command.help or "") + "\n"
    own = [option_row(one) for one in options_of(command, shared=False)]
    if own:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| {option} | {text} |" for option, text in own)
        yield ""
    if isinstance(command, click.Group):
        for inner, sub in command.commands.items():
            yield from command_part(f"{name} {inner}", sub)


def prose(text: str) -> str:
    """Paragraphs, their lines joined; what click is told to leave alone is a block."""
    found: list[str] = []
    for part in inspect.cleandoc(text).split("\n\n"):
        kept = part.startswith("\b\n")
        found.append(f"```\n{part.removeprefix(chr(8) + chr(10))}\n```" if kept else " ".join(part.split()))
    return "\n\n".join(found)


def options_of(command: click.Command, *, shared: bool) -> Iterator[click.Option]:
    for one in command.params:
        if isinstance(one, click.Option) and (one.name in COMMON) == shared:
            yield one
    if shared and isinstance(command, click.Group):
        for sub in command.commands.values():
            yield from options_of(sub, shared=True)


def option_row(option: click.Option) -> tuple[str, str]:
    """An option as it is typed, and what it means, with the default that its help shows."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" `{metavar(option)}`".replace("|", "\\|")
    default = f" (default: {option.default})" if option.show_default and option.default is not None else ""
    return f"{names}{value}", f"{(option.help or '').rstrip('.')}{default}.".replace("|", "\\|")


def metavar(parameter: click.Parameter) -> str:
    return parameter.make_metavar(click.Context(click.Command("hanse")))
