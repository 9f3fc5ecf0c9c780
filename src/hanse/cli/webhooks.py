"""`hanse webhooks`: the webhooks of a running system, and what has come of them; over REST, as who `--header` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import quote, urlencode

import click

from hanse.cli.call import leave
from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.problem import problem_in
from hanse.cli.remote import Remote, remote
from hanse.cli.running import document_of
from hanse.gateway.cloud_events import moment
from hanse.kernel.codec import encode_json
from hanse.kernel.duration import seconds
from hanse.kernel.faults import Misdeclared, UnknownOperation
from hanse.kernel.host import Host

PAGES_MAX = 1_000
"""Pages that one command asks for."""

LISTED = "webhooks_listed"
"""What the documents of a running system call the list of subscriptions: so it is found wherever it is."""

STATES = ("waiting", "delivered", "failed")

Row = Mapping[str, object]


@click.group()
def webhooks() -> None:
    """Look at the webhooks of a running system, and send them again.

    Who asks is said with --header 'Authorization: ...'; the system shows their own, or all to who manages them.
    """


@webhooks.command("list")
@remote
@as_json
@common
def listed(*, remote: Remote, json_wanted: bool, output: Output) -> None:
    """List the subscriptions."""
    rows = _all(remote, _path(remote), output, json_wanted=json_wanted)
    if json_wanted:
        print_json(rows)
        return
    print_table([_subscription(row) for row in rows], output, headings=("id", "state", "events", "url", "owner"))


@webhooks.command("deliveries")
@click.argument("subscription")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="End after N.")
@remote
@as_json
@common
def deliveries(
    *, subscription: str, state: str | None, limit: int, remote: Remote, json_wanted: bool, output: Output
) -> None:
    """List what was sent to SUBSCRIPTION, an id, and what waits for it; the newest first."""
    query = {"state": state} if state else {}
    path = f"{_path(remote)}/{quote(subscription, safe='')}/deliveries"
    rows = _all(remote, path, output, json_wanted=json_wanted, query=query, limit=limit)
    if json_wanted:
        print_json(rows)
        return
    headings = ("id", "type", "state", "attempts", "status", "made", "problem")
    print_table([_delivery(row) for row in rows], output, headings=headings)


@webhooks.command("replay")
@click.argument("subscription")
@click.option("--delivery", default="", metavar="ID", help="This one alone.")
@click.option("--since", default="", metavar="DURATION", help="Those made in the last while, such as 2h; else all.")
@click.option("--until", default="", metavar="DURATION", help="But not those of the last while, such as 10m.")
@click.option("--all", "everything", is_flag=True, help="Those that were delivered too; else those that failed.")
@remote
@as_json
@common
def replay(*, subscription: str, remote: Remote, json_wanted: bool, output: Output, **rest: object) -> None:
    """Send deliveries to SUBSCRIPTION, an id, again, under the ids that they had."""
    now = Host.system().now()
    asked: dict[str, object] = {
        "delivery": rest["delivery"],
        "since": _ago(now, str(rest["since"]), 0.0),
        "until": _ago(now, str(rest["until"]), now),
        "state": None if rest["everything"] else "failed",
    }
    path, count = f"{_path(remote)}/{quote(subscription, safe='')}/replay", 0
    for _ in range(PAGES_MAX):
        told = _asked(remote, path, output, body=asked, json_wanted=json_wanted)
        count += cast("int", told["count"])
        if not told["next"]:
            break
        asked["cursor"] = told["next"]
    if json_wanted:
        print_json({"count": count})
    else:
        click.echo(f"{count} sent again")


@webhooks.command("ping")
@click.argument("subscription")
@remote
@as_json
@common
def ping(*, subscription: str, remote: Remote, json_wanted: bool, output: Output) -> None:
    """Send SUBSCRIPTION, an id, something that tells nothing, to see whether the way is open."""
    path = f"{_path(remote)}/{quote(subscription, safe='')}/ping"
    made = _asked(remote, path, output, body={}, json_wanted=json_wanted)
    if json_wanted:
        print_json(made)
    else:
        click.echo(f"{made['id']} is on its way; see: hanse webhooks deliveries {subscription}")


def _path(remote: Remote) -> str:
    """Where subscriptions are.

    Raises:
        UnknownOperation: The system sends no webhooks.
    """
    for path, methods in document_of(remote).paths.items():
        listing = methods.get("get")
        if isinstance(listing, dict) and cast("Row", listing).get("operationId") == LISTED:
            return path
    raise UnknownOperation(
        f"expected a system that sends webhooks at {remote.base}; declare them: gateway.webhooks(...)"
    )


def _asked(
    remote: Remote, path: str, output: Output, *, body: object = None, json_wanted: bool = False
) -> dict[str, object]:
    encoded = None if body is None else encode_json(body)
    with remote.ask(path, body=encoded) as answer:
        if (problem := problem_in(answer)) is not None:
            leave(problem, output, json_wanted=json_wanted)
        return cast("dict[str, object]", answer.json())


def _all(
    remote: Remote,
    path: str,
    output: Output,
    *,
    query: Mapping[str, str] | None = None,
    limit: int = 0,
    json_wanted: bool = False,
) -> list[Row]:
    """What is on all pages, or the first so many of it."""
    rows: list[Row] = []
    for page in _pages(remote, path, output, dict(query or {}), json_wanted=json_wanted):
        rows += page
        if limit and len(rows) >= limit:
            return rows[:limit]
    return rows


def _pages(
    remote: Remote, path: str, output: Output, query: dict[str, str], *, json_wanted: bool
) -> Iterator[Sequence[Row]]:
    for _ in range(PAGES_MAX):
        told = _asked(remote, f"{path}?{urlencode({**query, 'limit': '100'})}", output, json_wanted=json_wanted)
        yield cast("Sequence[Row]", told["items"])
        if not told["next"]:
            return
        query["cursor"] = str(told["next"])


def _subscription(row: Row) -> list[str]:
    state = "active" if row["active"] else f"off: {row['ended']}" if row["ended"] else "off"
    events = ",".join(cast("Sequence[str]", row["events"]))
    return [str(row["id"]), state, events, str(row["url"]), str(row["owner"])]


def _delivery(row: Row) -> list[str]:
    made = moment(cast("float", row["created_at"]))
    told = [row["id"], row["type"], row["state"], row["attempts"], row["status"] or "-", made, row["problem"]]
    return [str(cell) for cell in told]


def _ago(now: float, text: str, otherwise: float) -> float:
    """The wall-clock second that was so long ago.

    Raises:
        click.UsageError: It is no duration.
    """
    if not text:
        return otherwise
    try:
        return now - seconds(text)
    except Misdeclared as fault:
        raise click.UsageError(str(fault)) from None
