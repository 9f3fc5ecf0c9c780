"""What a running system says went wrong, as commands read it."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

import msgspec

from hanse.cli.http import Answer

PROBLEM = "application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """What a running system says went wrong (RFC 9457)."""

    code: str = "fault"
    status: int = 0
    title: str = ""
    detail: str = ""
    trace_id: str = ""
    errors: list[dict[str, str]] = []


def problem_in(answer: Answer) -> Problem | None:
    """The problem that an answer is; None where it is none.

    Raises:
        Malformed: It says that it is one, and is no JSON.
    """
    return problem_of(answer.json()) if answer.type == PROBLEM else None


def problem_of(value: object) -> Problem:
    """A problem, with as much of it as reads like one of ours: others have other members of the same names.

    Example:
        >>> problem_of({"title": "Wrong", "errors": {"sku": ["is missing"]}})
        Problem(code='fault', status=0, title='Wrong', detail='', trace_id='', errors=[])
    """
    members = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    found = Problem()
    for name in Problem.__struct_fields__:
        if name not in members:
            continue
        with suppress(msgspec.ValidationError):
            one = msgspec.convert({name: members[name]}, Problem, strict=False)
            found = msgspec.structs.replace(found, **{name: getattr(one, name)})
    return found
