"""`hanse call`: one operation of a running system, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn, cast

import click
import msgspec

from hanse.cli.complete import operations
from hanse.cli.http import Answer
from hanse.cli.options import as_json, common
from hanse.cli.output import Output, print_json
from hanse.cli.problem import Problem, problem_in
from hanse.cli.remote import Remote, remote
from hanse.cli.running import served_by
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import UnknownOperation, fault_class
from hanse.kernel.settings_schema import nearest

BODY_CHARACTERS_MAX = 16 * 1024 * 1024
"""Of a body that is read from a file or from standard input."""

JSON_LINES = "application/jsonl"
UNKNOWN = frozenset({"no_route", "unknown_operation"})
"""Codes of problems that say that there is no such operation."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("operation", metavar="SERVICE.OPERATION", shell_complete=operations)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE... | JSON | @FILE | -]")
@click.option("--idempotency-key", default="", metavar="KEY", help="Under it, the call is executed once.")
@remote
@as_json
@common
def call(
    *,
    operation: str,
    arguments: tuple[str, ...],
    idempotency_key: str,
    remote: Remote,
    json_wanted: bool,
    output: Output,
) -> None:
    """Call an operation of a running system and print its answer as JSON.

    A VALUE is JSON where it can be read as such, else a text. @FILE is a JSON object in a file, - one on standard
    input; pairs after it replace what it says. The items of a stream are printed as they come, one a line.
    """
    service, name = split_operation(operation)
    body = encode_json(parse_arguments(arguments))
    headers = {"Accept": f"application/json, {JSON_LINES}"}
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    with remote.ask(f"/rpc/{service}/{name}", body=body, headers=headers) as answer:
        problem = show(answer)
    if problem is None:
        return
    if problem.code in UNKNOWN:
        known = [address for one in served_by(remote) for address in one.addresses]
        # What is declared and served by nobody just now is no typing mistake; what was answered says so.
        if operation not in known:
            where = "the app" if remote.own else remote.base
            said = f"expected an operation that {where} has, got {operation}{suggestion(operation, known)}"
            raise UnknownOperation(said)
    leave(problem, output, json_wanted=json_wanted)


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
    """Arguments as they are typed: a JSON object, `@FILE` or `-` for one, or pairs; pairs after one replace its.

    Raises:
        click.UsageError: It is none of these, or a name comes twice.

    Example:
        >>> parse_arguments(["name=Ada", "count=3", "code=FR"])
        {'name': 'Ada', 'count': 3, 'code': 'FR'}
        >>> parse_arguments(['{"name": "Ada", "count": 3}', "count=4"])
        {'name': 'Ada', 'count': 4}
    """
    whole = texts[0].lstrip() if texts else ""
    given = _object(_text_of(whole)) if whole.startswith(("{", "@")) or whole == "-" else None
    found: dict[str, object] = {}
    for text in texts if given is None else texts[1:]:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"expected NAME=VALUE or one JSON object, such as name=Ada, got {text!r}")
        if name in found:
            raise click.UsageError(f"expected each argument once, but {name} comes twice")
        found[name] = _value(value)
    return {**(given or {}), **found}


def _text_of(source: str) -> str:
    """What is meant by a JSON object, `@FILE` or `-`."""
    if source.startswith("{"):
        return source
    try:
        with click.open_file("-" if source == "-" else source[1:], encoding="utf-8") as file:
            text = str(file.read(BODY_CHARACTERS_MAX + 1))
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"expected a file with a JSON object at {source}: {error}") from None
    if len(text) > BODY_CHARACTERS_MAX:
        raise click.UsageError(f"expected at most {BODY_CHARACTERS_MAX} characters at {source}")
    return text


def _object(text: str) -> dict[str, object]:
    try:
        return cast("dict[str, object]", msgspec.json.decode(text, type=dict))
    except msgspec.DecodeError as error:
        raise click.UsageError(f"expected a JSON object, got {text[:100]!r}: {error}") from None


def _value(text: str) -> object:
    try:
        return cast("object", msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def show(answer: Answer) -> Problem | None:
    """Print an answer, item by item where it is a stream; the problem where it is (or ends with) one."""
    if (problem := problem_in(answer)) is not None:
        return problem
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


def leave(problem: Problem, output: Output, *, json_wanted: bool = False) -> NoReturn:
    """Tell a problem on standard error, and exit with its code.

    Raises:
        click.exceptions.Exit: Always.
    """
    if json_wanted:
        click.echo(encode_json({"error": problem}), err=True)
    else:
        tell(problem, output)
    raise click.exceptions.Exit(exit_code(problem))


def tell(problem: Problem, output: Output) -> None:
    """Print a problem on standard error; where the input is wrong, every flaw of it."""
    said = "the input is not what the contract asks for" if problem.errors else problem.detail or problem.title
    click.echo(f"hanse: {problem.code}: {said}", err=True)
    for flaw in problem.errors:
        click.echo(f"  {flaw.get('pointer', '')}: {flaw.get('detail', '')}", err=True)
    if hint := quoting(problem.errors):
        click.echo(f"  {hint}", err=True)
    if problem.trace_id and output.verbose:
        click.echo(f"  trace {problem.trace_id}", err=True)


def quoting(errors: Sequence[Mapping[str, str]]) -> str:
    r"""What to do where text was meant that can be read as JSON, such as an id of digits; else empty.

    Example:
        >>> quoting([{"pointer": "/id", "detail": "Expected `str`, got `int`"}])
        'text that looks like JSON is written in quotes: id=\'"..."\''
    """
    for flaw in errors:
        if flaw.get("detail", "").startswith("Expected `str`, got `"):
            name = flaw.get("pointer", "").rpartition("/")[2]
            return f"text that looks like JSON is written in quotes: {name}='\"...\"'"
    return ""


def suggestion(operation: str, known: Sequence[str]) -> str:
    """A hint to the operation that was probably meant, or to where they are listed.

    Example:
        >>> suggestion("greeter.helo", ["greeter.hello"])
        '; did you mean greeter.hello?'
    """
    near = nearest(operation, known)
    return f"; did you mean {near}?" if near else "; `hanse services` lists what there is"
