"""A dead letter as a test: what was told, told again in a simulated world; the handler has to cope with it."""

from __future__ import annotations

import pprint
import re
from pathlib import Path

import msgspec

from hanse.cli.target import parse_target
from hanse.kernel.faults import Malformed
from hanse.node.letters import LetterShown

_TEMPLATE = '''"""{title}"""

{imports}

TOLD = Told(
{told}
)


def {name}() -> None:
    """It failed with {fault}."""
    run(story())


async def story() -> None:
    async with simulate(Setup(app={app}, dead_letters=True)) as world:
        # What the handler needs to find is not in the message: write it here, by the client of a service or, such as
        # `await world.collection(Order).put(Order(id="1", sku="tea"))`, as rows.
        await copes(world, {service!r}, {group!r}, TOLD)
'''


class App(msgspec.Struct, frozen=True):
    """Where a test finds the app: the module to import, and the name in it."""

    module: str
    name: str


def module_of(target: str) -> App:
    """Where a test finds what is typed as a target.

    Raises:
        Misconfigured: It is no target.

    Example:
        >>> module_of("shop.py:app")
        App(module='shop', name='app')
    """
    parsed = parse_target(target)
    module = Path(parsed.module).stem if parsed.is_file else parsed.module
    return App(module, parsed.name or "app")


def name_of(found: LetterShown) -> str:
    """What its test is called, and its file.

    Raises:
        Malformed: It cannot be read, so that nothing can be told again.
    """
    if not found.op:
        raise Malformed("expected a message that can be read, got one whose envelope cannot; its handler is not asked")
    words = f"{found.line.group} copes with {found.line.topic} {found.line.id[-6:]}"
    return f"test_{re.sub(r'[^0-9a-z]+', '_', words.lower()).strip('_')}"


def test_for(found: LetterShown, app: App, service: str) -> str:
    """The text of a test.

    Args:
        found: The dead letter.
        app: Where its app is.
        service: The one that could not handle it.
    """
    line = found.line
    told = {"op": found.op, "name": found.name, "value": found.original or found.value}
    told |= {"before": found.before, "id": found.row} if found.row else {}
    fault = " ".join(f"{line.code}: {line.text}".split())[:80].replace("\\", "/").replace('"', "'").rstrip("'.")
    imports = [
        f"from {app.module} import {app.name}",
        "",
        "from hanse import Setup, simulate",
        "from hanse.sim.operator import Told, copes",
        "from hanse.sim.run import run",
    ]
    return _TEMPLATE.format(
        title=f"A message that {line.group} could not handle, as a test.",
        imports="\n".join(imports),
        told="\n".join(f"    {name}={_literal(value)}," for name, value in told.items()),
        name=name_of(found),
        fault=fault,
        app=app.name,
        service=service,
        group=line.group,
    )


def _literal(value: str) -> str:
    """A text as source, in pieces where it is long."""
    text = pprint.pformat(value, width=100)
    return text if "\n" not in text else text.replace("\n", "\n    ")
