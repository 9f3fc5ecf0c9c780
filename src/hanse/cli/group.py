"""The `hanse` command and its verbs, none of which is imported before it is called.

So `hanse --help` loads neither a web server nor an event loop.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

import click
from click.shell_completion import CompletionItem

from hanse.cli.output import JSON_WANTED, tell_error, tell_fault
from hanse.kernel.faults import Fault

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Verb(NamedTuple):
    """Where a command lives: the module, its name in it, and the line that the list of commands shows."""

    module: str
    name: str
    help: str


VERBS: Mapping[str, Verb] = {
    "new": Verb("hanse.cli.new", "new", "Begin a project, with tests."),
    "dev": Verb("hanse.cli.dev", "dev", "Run an app while it is written: anew on every change."),
    "run": Verb("hanse.cli.run", "run", "Run an app, or the services of a file, in one process."),
    "up": Verb("hanse.cli.up", "up", "Run a whole system on this machine, foreign services too."),
    "ps": Verb("hanse.cli.system", "ps", "Show what a system on this machine runs."),
    "top": Verb("hanse.cli.top", "top", "Show what each instance takes of the machine."),
    "logs": Verb("hanse.cli.logs", "logs", "Show what services print."),
    "restart": Verb("hanse.cli.system", "restart", "Start services anew, with no request lost."),
    "scale": Verb("hanse.cli.system", "scale", "Have more or fewer instances of a service."),
    "release": Verb("hanse.cli.release", "release", "Release a service anew, in steps that are judged."),
    "rollout": Verb("hanse.cli.release", "rollout", "See how releases come to their places."),
    "route": Verb("hanse.cli.route", "route", "See who gets which requests, and share them by hand."),
    "stop": Verb("hanse.cli.system", "stop", "End services, and leave the others running."),
    "wait": Verb("hanse.cli.system", "wait", "Wait until all is ready."),
    "down": Verb("hanse.cli.system", "down", "End a whole system, in order."),
    "call": Verb("hanse.cli.call", "call", "Call an operation of a running system."),
    "emit": Verb("hanse.cli.emit", "emit", "Emit an event into a running system."),
    "events": Verb("hanse.cli.events", "events", "Follow what happens in a running system."),
    "shell": Verb("hanse.cli.shell", "shell", "Talk to an app or a running system in Python."),
    "describe": Verb("hanse.cli.describe", "describe", "Show the contracts of an app."),
    "services": Verb("hanse.cli.services", "services", "List the services of an app or of a running system."),
    "nodes": Verb("hanse.cli.nodes", "nodes", "List the nodes of a running system."),
    "webhooks": Verb("hanse.cli.webhooks", "webhooks", "See the webhooks of a running system, and send them again."),
    "sagas": Verb("hanse.cli.sagas", "sagas", "See sagas, have one go on, or turn back."),
    "store": Verb("hanse.cli.store", "store", "Show or make the changes that stores need."),
    "deadletters": Verb(
        "hanse.cli.deadletters", "deadletters", "See, mend and replay messages that could not be handled."
    ),
    "sim": Verb("hanse.cli.sim", "sim", "Run an app as many machines in virtual time, under many seeds."),
    "explain": Verb("hanse.cli.explain", "explain", "Explain an error: what it means, why it comes, what to do."),
    "doctor": Verb("hanse.cli.doctor", "doctor", "Look for what is wrong on this machine and in this project."),
    "config": Verb("hanse.cli.config", "config", "Show the configuration."),
    "completion": Verb("hanse.cli.completion", "completion", "Print what makes a shell complete commands."),
    "version": Verb("hanse.cli.version", "version", "Show which Hanse, Python and machine this is."),
}


class VerbGroup(click.Group):
    """A group that imports a verb when it is called, and tells faults as one short text."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the signature is click's
        """The verbs, in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # the signature is click's
        """Import a verb."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: object = getattr(importlib.import_module(verb.module), verb.name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that is called; an unknown one is refused with what was probably meant."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=VERBS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer verbs without importing them, and options."""
        verbs = [CompletionItem(name, help=verb.help) for name, verb in VERBS.items() if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # the signature is click's
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; a fault becomes a short text on standard error and the fault's exit code."""
        try:
            return super().invoke(ctx)
        except Fault as fault:
            tell_fault(fault, json_wanted=bool(ctx.meta.get(JSON_WANTED)))
            ctx.exit(fault.exit_code)
        except click.UsageError as error:
            if not ctx.meta.get(JSON_WANTED):
                raise
            tell_error("usage", error.format_message())
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hanse", message="hanse %(version)s")
def hanse() -> None:
    """Microservices as plain, typed Python classes.

    Write services in a file, then: hanse run FILE
    """


def main() -> NoReturn:
    """Run the command line of this process.

    Raises:
        SystemExit: Always, with 0 (done), 1 (failed), 2 (usage), 3 (could not start) or 78 (bad configuration).
    """
    sys.exit(hanse(prog_name="hanse"))
