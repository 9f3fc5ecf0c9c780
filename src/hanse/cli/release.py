"""`hanse release` and `hanse rollout`: a new release of a service that runs, in steps, and back again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeVar

import click
from msgspec import convert

from hanse.cli.operator import operator_name
from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.project import located
from hanse.cli.release_text import HEADINGS, begun_lines, is_over, lines_of, problem_of, rows_of, set_lines
from hanse.control.rollout import Command
from hanse.control.verdict import Verdict
from hanse.control.verdict_forms import OK, Hook, verdict_for_argo, verdict_for_flagger
from hanse.deploy.control_client import POLL_SECONDS, NotDone, asked_of_releases
from hanse.deploy.control_words import Ask
from hanse.deploy.home import Home
from hanse.deploy.release_words import (
    BAKE_SECONDS,
    EVERY_SECONDS,
    REQUESTS,
    ReleaseAsk,
    ReleasesTold,
    RolloutAsk,
)
from hanse.kernel.duration import seconds

T = TypeVar("T")

HOOKS: dict[str, Hook] = {
    "flagger-rollout": "rollout",
    "flagger-increase": "confirm-traffic-increase",
    "flagger-promotion": "confirm-promotion",
    "flagger-rollback": "rollback",
}
FORMS = ("argo", *HOOKS)

STRATEGIES = ("canary", "rolling", "blue-green", "ab", "mirror")


def asking(command: Callable[..., T]) -> Callable[..., T]:
    """Add what may be said of a release; the command takes it as `ask`."""

    @click.argument("services", nargs=-1, required=True, metavar="SERVICE[=RELEASE]...")
    @click.option("--to", default="", metavar="RELEASE", help="A folder, a revision of git, or what {release} takes.")
    @click.option("--strategy", type=click.Choice(STRATEGIES), default="canary", show_default=True, help="How it goes.")
    @click.option("--steps", default="", metavar="PERCENTS", help="Of the requests, such as 1,5,25,50,100.")
    @click.option(
        "--every", default=f"{EVERY_SECONDS:g}s", show_default=True, metavar="TIME", help="A step lasts so long."
    )
    @click.option("--requests", default=REQUESTS, show_default=True, type=click.IntRange(min=0), help="And so many.")
    @click.option(
        "--bake", default=f"{BAKE_SECONDS:g}s", show_default=True, metavar="TIME", help="The old one stays warm."
    )
    @click.option(
        "--mirror-first", default="0", metavar="TIME", help="Copies of requests for so long, before a canary."
    )
    @click.option("--breaking", is_flag=True, help="Even if it does not fit those who run beside it.")
    @wraps(command)
    def wrapped(*args: object, services: tuple[str, ...], to: str, steps: str, **rest: object) -> T:
        (service, release), *also = releases_of(services, to)
        said = {name: rest.pop(name) for name in ("strategy", "requests", "breaking")}
        times = {name: lasting(str(rest.pop(name))) for name in ("every", "bake", "mirror_first")}
        which = {"service": service, "to": release, "also": also, "who": operator_name()}
        ask = convert({**which, **said, **times, "steps": percents(steps)}, ReleaseAsk)
        return command(*args, ask=ask, **rest)

    return wrapped


@click.command()
@asking
@click.option("--wait", is_flag=True, help="Return when it is over: 0 for done, 1 for back.")
@located
@as_json
@common
def release(*, ask: ReleaseAsk, wait: bool, home: Home, json_wanted: bool, output: Output) -> None:
    """Release SERVICE anew, in steps that are judged, and back by itself where it is bad.

    Several are released as one, those that are called before those that call them: one after the other, and where one
    of them is bad, all go back. Each comes to the RELEASE behind its name, and those without one to that of `--to`.
    """
    told = asked_of_releases(home, Ask("release", release=ask))
    if not json_wanted:
        for line in begun_lines(told):
            output.note(f"hanse: {line}")
    if wait:
        told = _over(home, told, output)
    if json_wanted:
        print_json(told)
    if wait and (problem := problem_of(told)):
        raise NotDone(problem)


@click.group()
def rollout() -> None:
    """See how releases come to their places, and have a say in it."""


@rollout.command()
@click.argument("service", default="")
@located
@as_json
@common
def status(*, service: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Show the latest rollout of each service; of SERVICE, all that it came to and what the judge went by."""
    _show(home, RolloutAsk(service=service), output, json_wanted=json_wanted)


@rollout.command()
@click.argument("service")
@located
@as_json
@common
def pause(*, service: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Have the rollout of SERVICE stay as it is; what turns out bad still goes back."""
    _say(home, service, "pause", output, json_wanted=json_wanted)


@rollout.command()
@click.argument("service")
@located
@as_json
@common
def resume(*, service: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Have the rollout of SERVICE go on that was paused, or held."""
    _say(home, service, "resume", output, json_wanted=json_wanted)


@rollout.command()
@click.argument("service")
@located
@as_json
@common
def promote(*, service: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Give the new release of SERVICE all requests now."""
    _say(home, service, "promote", output, json_wanted=json_wanted)


@rollout.command()
@click.argument("service")
@located
@as_json
@common
def abort(*, service: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Give the new release of SERVICE no more requests, at once, and end it."""
    _say(home, service, "abort", output, json_wanted=json_wanted)


@rollout.command()
@click.argument("service")
@click.argument("release")
@located
@as_json
@common
def lift(*, service: str, release: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Say that RELEASE of SERVICE may be tried again, though it was rolled back."""
    _show(home, RolloutAsk(service=service, lift=release, who=operator_name()), output, json_wanted=json_wanted)


@rollout.command()
@click.argument("service")
@click.option("--as", "form", type=click.Choice(FORMS), default=None, help="The form that another tool asks for.")
@located
@as_json
@common
def verdict(*, service: str, form: str | None, home: Home, json_wanted: bool, output: Output) -> None:
    """Show what the judge says of the rollout of SERVICE, and all that it goes by.

    As `argo` it is JSON for the web metric of Argo Rollouts; as one of Flagger's webhooks it is the answer to that, and
    the exit code is 0 for yes and 1 for no.
    """
    told = asked_of_releases(home, Ask("rollout", rollout=RolloutAsk(service=service)))
    found = told.rollouts[0].verdict if told.rollouts else None
    if form is not None:
        if found is None:
            raise NotDone(f"nothing of {service} was judged yet")
        _as_form(found, form)
    elif json_wanted:
        print_json(found)
    else:
        output.note("hanse: nothing was judged yet" if found is None else found.text())


def _as_form(found: Verdict, form: str) -> None:
    if form == "argo":
        click.echo(verdict_for_argo(found))
        return
    answer = verdict_for_flagger(found, HOOKS[form])
    click.echo(answer.body)
    if answer.status != OK:
        raise SystemExit(1)


def releases_of(words: Sequence[str], to: str) -> list[tuple[str, str]]:
    """Which service comes to which release.

    Args:
        words: Services, or `SERVICE=RELEASE`.
        to: The release of those that were given none.

    Raises:
        click.UsageError: One has no release, or `to` is that of nobody.

    Example:
        >>> releases_of(["shop=v2", "till"], "../till-2")
        [('shop', 'v2'), ('till', '../till-2')]
    """
    found = [(service, release if given else to) for service, given, release in (one.partition("=") for one in words)]
    for service, release in found:
        if not service or not release:
            told = service or "SERVICE"
            raise click.UsageError(f"expected a release of {told}, as {told}=RELEASE or --to RELEASE, got none")
    if to and all("=" in one for one in words):
        raise click.UsageError(f"expected a service that --to {to} is for: each was given a release of its own")
    return found


def percents(text: str) -> tuple[float, ...]:
    """Percents as they are typed.

    Raises:
        click.UsageError: They are no numbers.

    Example:
        >>> percents("1, 5,25")
        (1.0, 5.0, 25.0)
    """
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise click.UsageError(f"expected percents such as 1,5,25,50,100, got {text!r}") from None


def lasting(text: str) -> float:
    """A length of time, which may be none.

    Example:
        >>> lasting("2m"), lasting("0")
        (120.0, 0.0)
    """
    return 0.0 if text in ("0", "0s") else seconds(text)


def _say(home: Home, service: str, command: Command, output: Output, *, json_wanted: bool) -> None:
    _show(home, RolloutAsk(service=service, command=command, who=operator_name()), output, json_wanted=json_wanted)


def _show(home: Home, ask: RolloutAsk, output: Output, *, json_wanted: bool) -> None:
    told = asked_of_releases(home, Ask("rollout", rollout=ask))
    if json_wanted:
        print_json(told)
    elif not told.rollouts:
        output.note("hanse: nothing was released yet")
    elif ask.service:
        for line in lines_of(told.rollouts[0]):
            click.echo(line)
    else:
        print_table(rows_of(told), output, headings=HEADINGS)
        for line in set_lines(told):
            output.note(f"hanse: {line}")


def _over(home: Home, begun: ReleasesTold, output: Output) -> ReleasesTold:
    """How it is, once a rollout or a release set is over; every turn is told as it comes."""
    never, shown = threading.Event(), dict[str, int]()
    about = (
        RolloutAsk(release_set=begun.sets[0].id)
        if begun.sets
        else RolloutAsk(service=begun.rollouts[0].rollout.service)
    )
    while True:
        told = asked_of_releases(home, Ask("rollout", rollout=about))
        for now in (one.rollout for one in told.rollouts):
            for turn in now.history[shown.get(now.service, 0) :]:
                output.note(f"hanse: {now.service}: {turn.state.replace('_', ' ')}, {turn.share / 100:g} %: {turn.why}")
            shown[now.service] = len(now.history)
        if is_over(told):
            return told
        _ = never.wait(POLL_SECONDS)
