"""`hanse explain route`: who would answer a call that a running node made, and why not others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

import click
import msgspec

from hanse.cli.output import Output, print_json, print_table
from hanse.cli.problem import problem_in
from hanse.cli.remote import Remote
from hanse.kernel.faults import Forbidden, Malformed, UnknownOperation
from hanse.mesh.explained import Candidate, Explained

HEADINGS = ("", "instance", "release", "zone", "weight", "in flight", "latency", "why")


def explain_route(address: str, carried: Sequence[str], remote: Remote, output: Output, *, json_wanted: bool) -> None:
    """Ask a running node, and print what it says.

    Raises:
        Unavailable: Nobody answers there.
        Forbidden: It does not say so to whoever asks.
        Malformed: Who answers is no node of Hanse's.
    """
    found = route_of(address, carried, remote)
    if json_wanted:
        print_json(found)
        return
    click.echo(f"{found.address}: {found.summary}")
    if found.release or found.route:
        click.echo(f"release {found.release or 'any'}, as {found.route or 'its story'} says")
    if found.candidates:
        print_table([list(row_of(one)) for one in found.candidates], output, headings=HEADINGS)


def route_of(address: str, carried: Sequence[str], remote: Remote) -> Explained:
    """What a running node says of an address."""
    if "." not in address:
        raise click.UsageError(f"expected SERVICE.OPERATION, such as orders.place, got {address!r}")
    query = urlencode([("address", address), *map(_pair, carried)])
    with remote.ask_directly(f"/routez?{query}") as answer:
        problem = problem_in(answer)
        said = answer.json() if problem is None else None
    if problem is not None and problem.code == UnknownOperation.code:
        raise UnknownOperation(problem.detail)
    if problem is not None:
        raise Forbidden(f"{remote.base} does not say how calls find their way: {problem.detail or problem.title}")
    try:
        return msgspec.convert(said, Explained)
    except msgspec.ValidationError:
        raise Malformed(f"expected a decision from {remote.base}/routez, got something else") from None


def row_of(one: Candidate) -> Iterator[str]:
    """A candidate for people."""
    yield "->" if one.taken else "" if one.calls else "x"
    yield one.instance
    yield one.release or "-"
    yield one.zone or "-"
    yield str(one.weight)
    yield str(one.in_flight)
    yield f"{one.latency_ms:g} ms"
    yield one.why


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"expected --carrying NAME=VALUE, such as tenant=acme, got {text!r}")
    return name, value
