"""`hanse deadletters`: the messages that could not be handled: see them, mend them, replay them, or let them go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TypeVar, cast

import click
import msgspec

from hanse.cli.call import leave, parse_arguments
from hanse.cli.deadletters_text import (
    ACTION_HEADINGS,
    GROUP_HEADINGS,
    HEADINGS,
    action_row,
    diff,
    effects_of,
    group_row,
    row_of,
    shown_lines,
    standing,
)
from hanse.cli.events import pair_of
from hanse.cli.letters import Desk, Running, Said, Stopped, asked, service_of
from hanse.cli.options import Chosen, as_json, common, working_folder
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.progress import Progress
from hanse.cli.remote import Remote, remote
from hanse.cli.target import load_app, wanted_target
from hanse.delivery.action import HALT_SHARE, LetterAction, Selection
from hanse.kernel.codec import encode_json
from hanse.kernel.host import Host
from hanse.node.letters import ActionPage, GroupPage, LetterPage, LetterShown, OutcomePage
from hanse.node.rehearsal import Rehearsed

T = TypeVar("T")

LOOK_SECONDS = 0.3
"""How often a replay that is waited for is asked how far it is."""

FAILED_AGAIN = 1
"""Exit code of a replay that has not come to its end well."""


@click.group()
def deadletters() -> None:
    """See, mend and replay messages that could not be handled.

    They are asked for through a running node (--url), or with --stopped in the stores of an app that does not run.
    """


def _desk(command: Callable[..., T]) -> Callable[..., T]:
    """Add where to ask; the command takes it as `desk`, and ends with the code of what that refuses."""

    @click.option(
        "--stopped", default="", metavar="TARGET", help="Look into the stores of this app, which is not running."
    )
    @remote
    @as_json
    @common
    @wraps(command)
    def wrapped(*args: object, stopped: str, remote: Remote, json_wanted: bool, output: Output, **rest: object) -> T:
        desk: Desk = Running(remote)
        if stopped:
            if remote.said:
                raise click.UsageError("expected --stopped or --url, got both")
            settings, _ = remote.chosen.read()
            desk = Stopped(load_app(stopped, working_folder()), settings)
        try:
            return command(*args, desk=desk, json_wanted=json_wanted, output=output, **rest)
        except Said as said:
            leave(said.problem, output, json_wanted=json_wanted)

    return wrapped


def _selecting(command: Callable[..., T]) -> Callable[..., T]:
    """Add what dead letters are chosen by; the command takes it as `which`."""

    @click.option("--group", default="", help="Of these subscribers, such as mailer.receipt.")
    @click.option("--fingerprint", default="", help="That failed in this way, and those that wait behind them.")
    @click.option("--topic", default="", help="That tell of this.")
    @click.option("--code", default="", help="That failed with this fault or exception.")
    @click.option("--key", default="", help="That are in order with this.")
    @click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Of this story; may be repeated.")
    @wraps(command)
    def wrapped(*args: object, **options: object) -> T:
        named = {name: str(options.pop(name)) for name in ("group", "fingerprint", "topic", "code", "key")}
        tags = cast("tuple[str, ...]", options.pop("tags"))
        ids = cast("tuple[str, ...]", options.get("ids", ()))
        which = Selection(ids=ids, tags=dict(pair_of(text) for text in tags), **named)
        _ = options.pop("ids", None)
        return command(*args, which=which, **options)

    return wrapped


_SERVICE = click.option("--service", default="", help="Of this service only.")


@deadletters.command("list")
@click.option("--groups", is_flag=True, help="Show the ways in which messages failed, and how many did.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Of each service.")
@click.option("--cursor", default=None, help="Go on where the last page ended; needs --service.")
@_SERVICE
@_selecting
@_desk
def listed(*, desk: Desk, which: Selection, service: str, output: Output, json_wanted: bool, **rest: object) -> None:
    """List dead letters."""
    limit, cursor = rest["limit"], rest["cursor"]
    if cursor is not None and not service:
        raise click.UsageError("expected --service with --cursor: each service has a list of its own")
    names = [service] if service else desk.services()
    paged: dict[str, GroupPage] | dict[str, LetterPage]
    if rest["groups"]:
        grouped = {name: asked(desk, GroupPage, name, "groups", limit=limit, cursor=cursor) for name in names}
        rows, headings = [group_row(name, one) for name in grouped for one in grouped[name].items], GROUP_HEADINGS
        paged = grouped
    else:
        listed = {n: asked(desk, LetterPage, n, "find", which=which, limit=limit, cursor=cursor) for n in names}
        rows, headings = [row_of(one) for page in listed.values() for one in page.items], HEADINGS
        paged = listed
    if json_wanted:
        print_json(paged)
        return
    print_table(rows, output, headings=headings)
    for name, page in paged.items():
        if page.next is not None:
            output.note(f"hanse: {name} has more: --service {name} --cursor {page.next}")


@deadletters.command("show")
@click.argument("id")
@_SERVICE
@_desk
def show(*, id: str, desk: Desk, service: str, output: Output, json_wanted: bool) -> None:
    """Show one with all that is known of it."""
    found = asked(desk, LetterShown, service or service_of(desk, id), "get", id=id)
    if json_wanted:
        print_json(found)
        return
    for line in shown_lines(found, colour=output.colour):
        click.echo(line, color=output.colour)


@deadletters.command("edit")
@click.argument("id")
@click.argument("arguments", nargs=-1, required=True, metavar="NAME=VALUE... | JSON | @FILE | -")
@_SERVICE
@_desk
def edit(*, id: str, arguments: tuple[str, ...], desk: Desk, service: str, output: Output, json_wanted: bool) -> None:
    """Have one tell something else; the original is kept.

    Pairs change fields; an object, or a file with one, is the whole value.
    """
    patch = not arguments[0].lstrip().startswith(("{", "@")) and arguments[0] != "-"
    value = encode_json(parse_arguments(arguments))
    found = asked(desk, LetterShown, service or service_of(desk, id), "edit", id=id, value=value, patch=patch)
    if json_wanted:
        print_json(found)
        return
    for line in shown_lines(found, colour=output.colour):
        click.echo(line, color=output.colour)


@deadletters.command("replay")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that match, or all of them.")
@click.option("--rate", default=0.0, type=click.FloatRange(min=0), metavar="N", help="At most so many a second.")
@click.option(
    "--halt",
    default=HALT_SHARE,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Halt where more than this share fails again; 1 never.",
)
@click.option("--dry-run", is_flag=True, help="Run the handler, let nothing last, and show what it would have done.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@_SERVICE
@_selecting
@_desk
def replay(*, desk: Desk, which: Selection, service: str, output: Output, json_wanted: bool, **rest: object) -> None:
    """Have dead letters handled again: by id, or with --all those that match.

    What waits behind one is handled after it. Exits with 1 where some have failed again.
    """
    if rest["dry_run"]:
        _rehearse(desk, which.ids, service, output, json_wanted=json_wanted)
        return
    chosen = _chosen(desk, which, service, everything=bool(rest["everything"]))
    options = {"rate": rest["rate"], "halt": rest["halt"]}
    begun = {name: asked(desk, LetterAction, name, "replay", which=one, **options) for name, one in chosen.items()}
    _follow(desk, begun, output, json_wanted=json_wanted, detach=bool(rest["detach"]) or isinstance(desk, Stopped))


@deadletters.command("drop")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that match, or all of them.")
@click.option("--yes", is_flag=True, help="Do not ask whether that is meant.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@_SERVICE
@_selecting
@_desk
def drop(*, desk: Desk, which: Selection, service: str, output: Output, json_wanted: bool, **rest: object) -> None:
    """Let dead letters go unhandled: by id, or with --all those that match.

    What only waited behind one is handled then.
    """
    chosen = _chosen(desk, which, service, everything=bool(rest["everything"]))
    if chosen and not rest["yes"] and not which.ids:
        count = sum(asked(desk, int, name, "count", which=one) for name, one in chosen.items())
        _ = click.confirm(f"Drop {count} dead letters of {', '.join(chosen)}?", abort=True, err=True)
    begun = {name: asked(desk, LetterAction, name, "drop", which=one) for name, one in chosen.items()}
    _follow(desk, begun, output, json_wanted=json_wanted, detach=bool(rest["detach"]) or isinstance(desk, Stopped))


@deadletters.command("stop")
@click.argument("action")
@_SERVICE
@_desk
def stop(*, action: str, desk: Desk, service: str, output: Output, json_wanted: bool) -> None:
    """Stop a replay or a drop: then nothing more of it takes effect."""
    found = asked(desk, LetterAction, service or service_of(desk, action, "action"), "stop", action=action)
    if json_wanted:
        print_json(found)
    else:
        output.note(f"hanse: {standing(found)}")


@deadletters.command("actions")
@click.argument("action", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Of each service.")
@_SERVICE
@_desk
def actions(*, action: str | None, limit: int, desk: Desk, service: str, output: Output, json_wanted: bool) -> None:
    """Show what was done about dead letters, by whom and to what end; of ACTION, what became of each letter."""
    if action:
        name = service or service_of(desk, action, "action")
        outcomes = asked(desk, OutcomePage, name, "outcomes", action=action, limit=limit)
        if json_wanted:
            print_json(outcomes)
            return
        rows = [[one.letter, one.what, one.group, one.key or "-", one.code or "-"] for one in outcomes.items]
        print_table(rows, output, headings=["letter", "outcome", "group", "key", "fault"])
        for one in outcomes.items:
            for line in diff(one.before, one.after, colour=output.colour):
                click.echo(f"  {line}", color=output.colour)
        return
    names = [service] if service else desk.services()
    pages = {name: asked(desk, ActionPage, name, "actions", limit=limit) for name in names}
    if json_wanted:
        print_json(pages)
        return
    rows = [action_row(name, one) for name, page in pages.items() for one in page.items]
    print_table(rows, output, headings=ACTION_HEADINGS)


@deadletters.command("export")
@click.argument("id")
@click.argument("target", required=False)
@click.option("--to", default="", metavar="FILE", help="Where to; by default tests/test_deadletter_ID.py.")
@_SERVICE
@_desk
def export(
    *, id: str, target: str | None, desk: Desk, service: str, output: Output, json_wanted: bool, **rest: object
) -> None:
    """Write a test that tells the message to TARGET (a file or module, such as shop.py:app) in a simulated world.

    It fails as the message did, until the handler is mended; keep it.
    """
    from hanse.cli.deadletters_export import module_of, name_of, test_for

    name = service or service_of(desk, id)
    found = asked(desk, LetterShown, name, "get", id=id)
    path = Path(str(rest["to"]) or f"tests/{name_of(found)}.py")
    if path.exists():
        raise click.UsageError(f"expected a new file, but {path} is there; choose another with --to")
    path.parent.mkdir(parents=True, exist_ok=True)
    settings, _ = Chosen().read()
    app = module_of(wanted_target(target, settings, "deadletters export ID"))
    _ = path.write_text(test_for(found, app, name), encoding="utf-8")
    if json_wanted:
        print_json({"file": str(path)})
    else:
        output.note(f"hanse: wrote {path}; run it: pytest {path}")


def _chosen(desk: Desk, which: Selection, service: str, *, everything: bool) -> dict[str, Selection]:
    """Which dead letters are meant, by service."""
    if not which.ids and not everything:
        raise click.UsageError("expected ids, or --all for those that match")
    if service:
        return {service: which}
    if not which.ids:
        return {name: which for name in desk.services() if asked(desk, int, name, "count", which=which)}
    found: dict[str, list[str]] = {}
    for id in which.ids:
        found.setdefault(service_of(desk, id), []).append(id)
    return {name: msgspec.structs.replace(which, ids=tuple(ids)) for name, ids in found.items()}


def _rehearse(desk: Desk, ids: Sequence[str], service: str, output: Output, *, json_wanted: bool) -> None:
    if not ids:
        raise click.UsageError("expected ids with --dry-run: each is tried by itself")
    found = {id: asked(desk, Rehearsed, service or service_of(desk, id), "rehearse", id=id) for id in ids}
    if json_wanted:
        print_json(found)
    else:
        for id, one in found.items():
            for line in effects_of(id, one, colour=output.colour):
                click.echo(line, color=output.colour)
    if any(one.code for one in found.values()):
        raise click.exceptions.Exit(FAILED_AGAIN)


def _follow(desk: Desk, begun: dict[str, LetterAction], output: Output, *, json_wanted: bool, detach: bool) -> None:
    """Tell how far actions are, until they have ended."""
    if not detach:
        with Progress("hanse", output) as progress:
            for name, action in begun.items():
                begun[name] = _ended(desk, name, action, progress)
    if json_wanted:
        print_json(begun)
    elif not begun:
        output.note("hanse: no dead letter matches")
    else:
        for name, action in begun.items():
            output.note(f"hanse: {name}: {standing(action)}")
    if any(action.failed or action.state in {"halted", "stopped"} for action in begun.values()):
        raise click.exceptions.Exit(FAILED_AGAIN)


def _ended(desk: Desk, name: str, action: LetterAction, progress: Progress) -> LetterAction:
    now, never = Host.system().monotonic, threading.Event()
    begun = now()
    while action.state == "running":
        done = action.sent + action.dropped
        progress.tell(f"{name}: {standing(action)}", done, max(1, action.asked), seconds=now() - begun)
        _ = never.wait(LOOK_SECONDS)
        action = asked(desk, LetterAction, name, "action", id=action.id)
    return action
