"""`hanse route`: which release of which service gets which requests, and a share by hand."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from hanse.cli.operator import operator_name
from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.project import located
from hanse.cli.release_text import percent
from hanse.control.edge_table import WHOLE
from hanse.control.released import BASE
from hanse.control.rollout import ENDED
from hanse.deploy.control_client import asked, asked_of_releases
from hanse.deploy.control_words import Ask, Status
from hanse.deploy.home import Home
from hanse.deploy.release_words import ReleasesTold, RolloutAsk

HEADINGS = ("service", "release", "share", "ready", "instances")


class Shown(msgspec.Struct, frozen=True):
    """What one release of a service gets.

    Attributes:
        service: Its name.
        release: The release.
        share: Of the requests, in basis points.
        ready: Instances that may be asked.
        instances: All that it has.
    """

    service: str
    release: str
    share: int
    ready: int
    instances: int


@click.group()
def route() -> None:
    """See which release gets which requests, and share them by hand."""


@route.command("show")
@click.argument("service", default="")
@located
@as_json
@common
def show(*, service: str, home: Home, json_wanted: bool, output: Output) -> None:
    """Show what each release of each service gets, or of SERVICE."""
    told = asked_of_releases(home, Ask("rollout", rollout=RolloutAsk(service=service)))
    found = [one for one in shown_of(asked(home, Ask("status")), told) if service in ("", one.service)]
    if json_wanted:
        print_json(found)
    else:
        cells = [(one.service, one.release, percent(one.share), str(one.ready), str(one.instances)) for one in found]
        print_table(cells, output, headings=HEADINGS)


@route.command("set")
@click.argument("service")
@click.argument("share", type=click.FloatRange(0.0, 100.0), metavar="PERCENT")
@located
@as_json
@common
def set_share(*, service: str, share: float, home: Home, json_wanted: bool, output: Output) -> None:
    """Give the release of SERVICE that is on its way PERCENT of the requests, and hold it there."""
    ask = RolloutAsk(service=service, share=round(share * WHOLE / 100.0), who=operator_name())
    told = asked_of_releases(home, Ask("rollout", rollout=ask))
    if json_wanted:
        print_json(told)
    else:
        row = told.rollouts[0].rollout
        output.note(f"hanse: {service}: {row.new} has {percent(row.share)}, until `hanse rollout resume {service}`")


def shown_of(status: Status, told: ReleasesTold) -> Iterator[Shown]:
    """What each release gets.

    Args:
        status: How the system is.
        told: How its releases are.
    """
    live = {one.rollout.service: one.rollout for one in told.rollouts if one.rollout.state not in ENDED}
    for service in dict.fromkeys(wish.service for wish in status.services):
        row = live.get(service)
        release = told.releases.get(service) or BASE
        shares = {release: WHOLE} if row is None else {row.new: row.share, row.old or BASE: WHOLE - row.share}
        for name, share in shares.items():
            mine = [one for one in status.instances if (one.service, one.release) == (service, name)]
            yield Shown(service, name, share, sum(one.phase == "ready" for one in mine), len(mine))
