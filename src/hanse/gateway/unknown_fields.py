"""`Prefer: handling=strict`: what is written may name no field that does not exist. Pure.

A row is read leniently: a field that it does not know is passed over, so that a client may be newer than the service.
Strictly, every such field is told with its pointer, since it may be a typing mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import cast

import msgspec

from hanse.contract.link import links_of
from hanse.contract.model import Resource, topic_of
from hanse.gateway.expansion import EXPANDED
from hanse.kernel.faults import Flaw, Invalid
from hanse.kernel.validate import FLAWS_MAX, names_in, part_of, unknown
from hanse.service.rows import PatchForm

_SHOWN = re.compile(rf"(/\d+)?/{EXPANDED}")
_decode = msgspec.json.Decoder().decode


def refuse_unknown(kind: type[Resource], body: bytes, form: PatchForm | None = None) -> None:
    """Refuse a row, several rows or a patch that names fields which do not exist.

    Args:
        kind: The resource.
        body: As it came; one that is no JSON is left to whoever reads it.
        form: How the patch is written; None for rows.

    Raises:
        Invalid: It does; lists every one.
    """
    try:
        value: object = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return
    many = isinstance(value, list)
    found = _in_operations(kind, value) if form == "json" else unknown(list[kind] if many else kind, value)  # type: ignore[valid-type]
    if links_of(kind):
        # Who writes back a row that was read with its links means the row.
        found = (flaw for flaw in found if not _SHOWN.fullmatch(flaw.pointer))
    if flaws := list(islice(found, FLAWS_MAX)):
        names = ", ".join(flaw.pointer for flaw in flaws[:3])
        raise Invalid(f"{topic_of(kind)} has no {names}; leave it out, or prefer handling=lenient", flaws)


def _in_operations(kind: type[Resource], patch: object) -> Iterator[Flaw]:
    if not isinstance(patch, list):
        return
    for index, operation in enumerate(cast("list[object]", patch)):
        if isinstance(operation, dict):
            yield from _in_operation(kind, cast("dict[str, object]", operation), f"/{index}")


def _in_operation(kind: type[Resource], operation: dict[str, object], at: str) -> Iterator[Flaw]:
    for member in ("path", "from"):
        pointer = operation.get(member)
        if not isinstance(pointer, str):
            continue
        hint: object = kind
        for token in pointer.split("/")[1:]:
            name = token.replace("~1", "/").replace("~0", "~")
            known = names_in(hint)
            if known is not None and name not in known:
                yield Flaw(f"{at}/{member}", "unknown_field", f"expected one of {', '.join(known) or 'none'}")
                break
            hint = part_of(hint, name)
        else:
            if member == "path":
                yield from unknown(hint, operation.get("value"), f"{at}/value")
