"""`hanse explain`: what a code means, why it comes, and what to do; and who answers a call."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

import click
import msgspec

from hanse.cli.advice import EXIT_CODES, FAULTS, FLAWS, RUNS, VIOLATIONS, Advice
from hanse.cli.complete import codes, operations
from hanse.cli.explain_route import explain_route
from hanse.cli.options import as_json, common, working_folder
from hanse.cli.output import Output, print_json, print_table
from hanse.cli.remote import Remote, remote
from hanse.kernel.faults import Fault
from hanse.kernel.settings_schema import nearest

ROUTE = "route"
"""What stands in place of a code where a call is to be explained."""

OWN = "Look where it is raised; what callers should know of it belongs into its docstring."
OWN_AGAIN = "Try again in a moment; if it stays, look where it is raised."


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be said about a code.

    Attributes:
        code: As answers, logs and reports name it.
        kind: `fault`, `flaw`, `violation` or `exit code`.
        meaning: What it says, in a sentence.
        why: The usual cause.
        do: The next thing to try.
        fault: Where it is a fault, its class.
        status, close_code, exit_code: What the gateway and `hanse` answer with.
        retryable: Whether another try may succeed.
    """

    code: str
    kind: str
    meaning: str
    why: str = ""
    do: str = ""
    fault: str = ""
    status: int = 0
    close_code: int = 0
    exit_code: int = 0
    retryable: bool = False


@click.command()
@click.argument("code", required=False, shell_complete=codes)
@click.argument("address", required=False, metavar="[SERVICE.OPERATION]", shell_complete=operations)
@click.option("--carrying", multiple=True, metavar="NAME=VALUE", help="What the call carries, such as tenant=acme.")
@remote
@as_json
@common
def explain(
    *,
    code: str | None,
    address: str | None,
    carrying: tuple[str, ...],
    remote: Remote,
    json_wanted: bool,
    output: Output,
) -> None:
    """Explain CODE: what it means, why it comes, and what to do. Without one, list all.

    CODE is that of a fault, of a flaw of an input, of a violation in a simulation, or an exit code; or of a fault that
    the app declares which hanse.toml names.

    `hanse explain route SERVICE.OPERATION` asks a running node whom it would call, and why not others.
    """
    if code == ROUTE and address is not None:
        explain_route(address, carrying, remote, output, json_wanted=json_wanted)
        return
    if address is not None or code == ROUTE or carrying:
        raise click.UsageError("expected a code, or `route` and a SERVICE.OPERATION")
    known = explanations()
    if code is None:
        _list(known, output, json_wanted=json_wanted)
        return
    found = matching(code, known) or matching(code, _of_the_app(remote.chosen.read()[0].app))
    if not found:
        raise click.UsageError(_unknown(code, [one.code for one in known]))
    if json_wanted:
        print_json(found)
        return
    click.echo("\n\n".join("\n".join(lines_of(one, colour=output.colour)) for one in found), color=output.colour)


def _list(known: list[Explanation], output: Output, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(known)
    else:
        print_table([[one.code, one.kind, one.meaning] for one in known], output, headings=["code", "kind", "meaning"])


def matching(text: str, known: Iterable[Explanation]) -> list[Explanation]:
    """The explanations of a code, or of a class by its name; one code may mean a fault and a flaw.

    Example:
        >>> [one.kind for one in matching("PreconditionFailed", explanations())]
        ['fault']
    """
    return [one for one in known if text in (one.code, one.fault.rpartition(".")[2])]


def _unknown(code: str, known: Iterable[str]) -> str:
    near = nearest(code, list(known))
    hint = f"did you mean {near}?" if near else "`hanse explain` lists all"
    return f"expected a code of Hanse's, got {code!r}; {hint} (faults of an app's own: `hanse describe TARGET`)"


def lines_of(one: Explanation, *, colour: bool = False) -> Iterator[str]:
    """An explanation for people."""
    head = f"{one.code} ({one.kind})"
    yield click.style(head, bold=True) if colour else head
    yield f"  {one.meaning}"
    if one.why:
        yield f"  why: {one.why}"
    if one.do:
        yield f"  do:  {one.do}"
    if one.fault:
        again = "another try may succeed" if one.retryable else "another try will not help"
        yield f"  {one.fault}: HTTP {one.status}, WebSocket {one.close_code}, exit code {one.exit_code}; {again}"


def explanations() -> list[Explanation]:
    """All that can be explained, faults first, each kind in order of its codes."""
    return [*_faults(), *_flaws(), *_violations(), *_exit_codes()]


def _of_the_app(target: str) -> list[Explanation]:
    """The faults that the operations of an app declare; none where it cannot be imported, which is another matter."""
    from hanse.cli.describe import contracts_of
    from hanse.cli.target import load_app

    raised: dict[type[Fault], list[str]] = {}
    with suppress(Fault):
        for contract in contracts_of(load_app(target, working_folder())) if target else ():
            for operation in contract.operations.values():
                for fault in operation.options.faults:
                    raised.setdefault(fault, []).append(f"{contract.name}.{operation.name}")
    return [
        _explained(fault, Advice(f"Declared by {', '.join(operations)}.", OWN_AGAIN if fault.retryable else OWN))
        for fault, operations in raised.items()
    ]


def known_faults() -> set[type[Fault]]:
    """All faults that the package declares; those of modules whose extra is not installed are declared elsewhere."""
    import hanse

    for module in pkgutil.walk_packages(hanse.__path__, "hanse."):
        if not module.name.startswith(("hanse.testing", "hanse.__main__")):
            with suppress(ImportError):
                _ = importlib.import_module(module.name)
    return {cls for cls in _subclasses(Fault) if _is_ours(cls)}


def _is_ours(cls: type) -> bool:
    """Whether a module of ours has it; classes of examples in docstrings only say that they are of it."""
    return cls.__module__.startswith("hanse.") and getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls


def _subclasses(cls: type[Fault]) -> Iterator[type[Fault]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def explained(cls: type[Fault]) -> Explanation:
    """The explanation of a fault: its docstring, its columns, and our advice.

    Example:
        >>> from hanse.kernel.faults import TooLarge
        >>> explained(TooLarge).meaning
        'Something is larger than its limit.'
    """
    return _explained(cls, FAULTS[cls.code])


def _explained(cls: type[Fault], advice: Advice) -> Explanation:
    return Explanation(
        code=cls.code,
        kind="fault",
        meaning=meaning_of(cls) or cls.template,
        why=advice.why,
        do=advice.do,
        fault=f"{cls.__module__}.{cls.__qualname__}",
        status=cls.status,
        close_code=cls.close_code,
        exit_code=cls.exit_code,
        retryable=cls.retryable,
    )


def meaning_of(cls: type) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())


def _faults() -> list[Explanation]:
    return sorted((explained(cls) for cls in known_faults()), key=lambda one: (one.code, one.fault))


def _flaws() -> list[Explanation]:
    return [Explanation(code, "flaw", meaning, do=do) for code, (meaning, do) in FLAWS.items()]


def _violations() -> list[Explanation]:
    from hanse.sim import observe
    from hanse.sim.check import Observer

    for module in pkgutil.iter_modules(observe.__path__, f"{observe.__name__}."):
        _ = importlib.import_module(module.name)
    own = sorted((cls for cls in Observer.__subclasses__() if _is_ours(cls)), key=lambda cls: cls.name)
    looked_after = [
        Explanation(cls.name, "violation", _headline(cls.__module__), VIOLATIONS.why, VIOLATIONS.do) for cls in own
    ]
    runs = [Explanation(code, "violation", meaning, one.why, one.do) for code, (meaning, one) in RUNS.items()]
    return [*looked_after, *runs]


def _headline(module: str) -> str:
    return (importlib.import_module(module).__doc__ or "").partition("\n")[0]


def _exit_codes() -> list[Explanation]:
    return [
        Explanation(code, "exit code", meaning, advice.why, advice.do, exit_code=int(code))
        for code, (meaning, advice) in EXIT_CODES.items()
    ]
