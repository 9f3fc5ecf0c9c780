"""`hanse emit`: an event into a running system, where its gateway allows it."""

from __future__ import annotations

from collections.abc import Mapping

import click

from hanse.cli.call import leave, parse_arguments
from hanse.cli.complete import topics
from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json
from hanse.cli.problem import problem_in
from hanse.cli.remote import Remote, remote
from hanse.cli.running import Fed, document_of
from hanse.cli.sse import ProblemCame
from hanse.contract.cloud_events import CONTENT_TYPE, SPEC_VERSION
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Forbidden, UnknownOperation
from hanse.kernel.settings_schema import nearest

SOURCE = "/hanse/emit"
"""Whose an id is, unless somebody says otherwise."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("event", metavar="EVENT", shell_complete=topics)
@click.argument("fields", nargs=-1, metavar="[NAME=VALUE... | JSON | @FILE | -]")
@click.option("--id", "id", default="", metavar="ID", help="Under it, the event is told once.")
@click.option("--source", default=SOURCE, show_default=True, metavar="URI", help="Whose id it is.")
@remote
@as_json
@common
def emit(
    *, event: str, fields: tuple[str, ...], remote: Remote, json_wanted: bool, output: Output, **rest: str
) -> None:
    """Emit EVENT, by its topic such as order_placed, into a running system whose gateway takes it.

    A VALUE is JSON where it can be read as such, else a text. @FILE is a JSON object in a file, - one on standard
    input; pairs after it replace what it says.
    """
    data = parse_arguments(fields)
    try:
        print_json(emit_into(remote, document_of(remote).topics, event, data, rest["id"], source=rest["source"]))
    except ProblemCame as came:
        leave(came.problem, output, json_wanted=json_wanted)


def emit_into(
    remote: Remote, topics: Mapping[str, Fed], event: str, data: object, id: str = "", *, source: str = SOURCE
) -> object:
    """Emit an event into a running system; what it answers.

    Args:
        remote: The system.
        topics: What it says that it tells of and takes.
        event: The topic.
        data: What the event says.
        id: Under which it is told once; empty for none.
        source: Whose id it is.

    Raises:
        UnknownOperation, Forbidden: It takes no such event.
        ProblemCame: It refuses this one.
    """
    found = topics.get(event)
    if found is None or not found.emit:
        raise _refused(event, topics, remote)
    headers: dict[str, str] = {}
    body: object = data
    if id:
        body = {"specversion": SPEC_VERSION, "id": id, "source": source, "type": event, "data": data}
        headers = {"Content-Type": CONTENT_TYPE}
    with remote.ask(found.path, body=encode_json(body), headers=headers) as answer:
        if (problem := problem_in(answer)) is not None:
            raise ProblemCame(problem)
        return answer.json()


def _refused(event: str, topics: Mapping[str, Fed], remote: Remote) -> Forbidden | UnknownOperation:
    if event in topics:
        return Forbidden(f"{remote.base} tells of {event}, but takes none; expose it with events(..., emit=True)")
    taken = [name for name, one in topics.items() if one.emit]
    near = nearest(event, taken)
    hint = f"did you mean {near}?" if near else f"it takes {', '.join(taken) or 'none; expose one with emit=True'}"
    return UnknownOperation(f"expected an event that {remote.base} takes, got {event!r}; {hint}")
