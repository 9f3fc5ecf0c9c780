"""`hanse call`: one operation of a running system, over HTTP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import cast

import click
import msgspec

from hanse.cli.http import Answer, request
from hanse.cli.net import url_of
from hanse.cli.options import Chosen, common, configured
from hanse.cli.output import Output, print_json
from hanse.cli.running import served_by
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import UnknownOperation, fault_class
from hanse.kernel.settings_schema import nearest

SILENCE_SECONDS_MAX = 60.0
"""How long a call waits for the next byte, unless `--timeout` says otherwise."""

PROBLEM = "application/problem+json"
JSON_LINES = "application/jsonl"
UNKNOWN = frozenset({"no_route", "unknown_operation"})
"""Codes of problems that say that there is no such operation."""


class Problem(msgspec.Struct, frozen=True):
    """What a running system says went wrong (RFC 9457)."""

    code: str = "fault"
    status: int = 0
    title: str = ""
    detail: str = ""
    trace_id: str = ""
    errors: list[dict[str, str]] = []


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("operation", metavar="SERVICE.OPERATION")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE... | JSON]")
@click.option("--url", default="", help="Where the system answers; else HANSE_URL, else what the settings say.")
@click.option("--timeout", default=SILENCE_SECONDS_MAX, type=click.FloatRange(min=0, min_open=True), show_default=True)
@configured()
@common
def call(
    *, operation: str, arguments: tuple[str, ...], url: str, timeout: float, chosen: Chosen, output: Output
) -> None:
    """Call an operation of a running system and print its answer as JSON.

    A VALUE is JSON where it can be read as such, else a text. The items of a stream are printed as they come, one a
    line.
    """
    service, name = split_operation(operation)
    base = base_url(url, chosen)
    body = encode_json(parse_arguments(arguments))
    accepted = {"Accept": f"application/json, {JSON_LINES}"}
    with request(f"{base}/rpc/{service}/{name}", body=body, headers=accepted, timeout=timeout) as answer:
        problem = show(answer)
    if problem is None:
        return
    if problem.code in UNKNOWN:
        known = [address for one in served_by(base, timeout) for address in one.addresses]
        raise UnknownOperation(f"expected an operation that {base} has, got {operation}{suggestion(operation, known)}")
    tell(problem, output)
    raise click.exceptions.Exit(exit_code(problem))


def split_operation(text: str) -> tuple[str, str]:
    """Service and operation of an address.

    Raises:
        click.UsageError: It is none.

    Example:
        >>> split_operation("orders.place")
        ('orders', 'place')
    """
    service, dot, name = text.rpartition(".")
    if not dot or not service.isidentifier() or not name.isidentifier():
        raise click.UsageError(f"expected SERVICE.OPERATION, such as greeter.hello, got {text!r}")
    return service, name


def parse_arguments(texts: Sequence[str]) -> dict[str, object]:
    """The arguments of a call: one JSON object, or pairs.

    Raises:
        click.UsageError: It is neither, or a name comes twice.

    Example:
        >>> parse_arguments(["name=Ada", "count=3", "code=FR"])
        {'name': 'Ada', 'count': 3, 'code': 'FR'}
    """
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        return _object(texts[0])
    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"expected NAME=VALUE or one JSON object, such as name=Ada, got {text!r}")
        if name in found:
            raise click.UsageError(f"expected each argument once, but {name} comes twice")
        found[name] = _value(value)
    return found


def _object(text: str) -> dict[str, object]:
    try:
        return cast("dict[str, object]", msgspec.json.decode(text, type=dict))
    except msgspec.DecodeError as error:
        raise click.UsageError(f"expected a JSON object, got {text!r}: {error}") from None


def _value(text: str) -> object:
    try:
        return cast("object", msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def base_url(url: str, chosen: Chosen) -> str:
    """Where the system answers: what was said, else HANSE_URL, else where the settings have the gateway."""
    said = url or os.environ.get("HANSE_URL", "")
    if not said:
        settings, _ = chosen.read()
        said = url_of(settings.gateway.host, settings.gateway.port)
    return said.rstrip("/")


def show(answer: Answer) -> Problem | None:
    """Print an answer, item by item where it is a stream; the problem where it is (or ends with) one."""
    if answer.type == PROBLEM:
        return msgspec.convert(answer.json(), Problem, strict=False)
    if answer.type != JSON_LINES:
        print_json(answer.json())
        return None
    for line in answer.lines():
        if (problem := stream_problem(line)) is not None:
            return problem
        click.echo(line)
    return None


def stream_problem(line: str) -> Problem | None:
    """The problem that a line of a stream tells of; None for an item.

    Example:
        >>> stream_problem('{"error": {"code": "out_of_stock", "status": 409}}').code
        'out_of_stock'
        >>> stream_problem('{"error": "as the user has it"}')
    """
    try:
        failed = msgspec.json.decode(line, type=_Failed).error
        # An item of the user's may look like this too, but has not what every problem has.
        return msgspec.convert(failed, Problem, strict=False) if {"code", "status"} <= failed.keys() else None
    except msgspec.DecodeError:
        return None


class _Failed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    error: dict[str, object]


def exit_code(problem: Problem) -> int:
    """The exit code of a problem: that of its fault."""
    fault = fault_class(problem.code)
    return 1 if fault is None else fault.exit_code


def tell(problem: Problem, output: Output) -> None:
    """Print a problem on standard error; where the input is wrong, every flaw of it."""
    said = "the input is not what the contract asks for" if problem.errors else problem.detail or problem.title
    click.echo(f"hanse: {problem.code}: {said}", err=True)
    for flaw in problem.errors:
        click.echo(f"  {flaw.get('pointer', '')}: {flaw.get('detail', '')}", err=True)
    if problem.trace_id and output.verbose:
        click.echo(f"  trace {problem.trace_id}", err=True)


def suggestion(operation: str, known: Sequence[str]) -> str:
    """A hint to the operation that was probably meant, or to where they are listed.

    Example:
        >>> suggestion("greeter.helo", ["greeter.hello"])
        '; did you mean greeter.hello?'
    """
    near = nearest(operation, known)
    return f"; did you mean {near}?" if near else "; `hanse services` lists what there is"
