"""Wrong declarations fail where they are written, with what was expected, what came, and what to do."""

from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

import pytest

from hanse.contract.declare import Contract, is_contract, options_of, rpc
from hanse.contract.guard import scope
from hanse.contract.model import Event, Model, Resource, collection_of, plural, topic_of, version_of
from hanse.kernel.faults import Fault, Misdeclared

# Wrong on purpose: the type checkers know these mistakes too (tests/typing).
mark = cast("Any", rpc)


class Gone(Fault):
    sku: str


def test_a_plain_def_is_refused_since_it_would_block() -> None:
    def hello(self: object, name: str) -> str:
        return name

    with pytest.raises(Misdeclared, match=r"hello is a plain `def`.*write `async def`.*AsyncIterator for a stream"):
        mark(hello)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(Misdeclared, match=r"@rpc goes on a method, but .* is a type"):
        mark(int)


def test_an_argument_without_a_type_is_refused() -> None:
    async def hello(self: object, name) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return str(name)

    with pytest.raises(Misdeclared, match=r"'name' of .*hello has no type; write `name: str`"):
        mark(hello)


def test_arguments_without_names_are_refused() -> None:
    async def many(self: object, *names: str) -> None: ...
    async def options(self: object, **names: str) -> None: ...

    for method, shown in ((many, r"\*names"), (options, r"\*\*names")):
        with pytest.raises(Misdeclared, match=f"takes {shown}: .*, which has no schema; name every argument"):
            mark(method)


def test_an_answer_without_a_type_is_refused() -> None:
    async def hello(self: object):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return None

    with pytest.raises(Misdeclared, match="does not say what it returns; write `-> None` if nothing"):
        mark(hello)


def test_a_timeout_that_is_no_duration_is_refused() -> None:
    with pytest.raises(Misdeclared, match="expected a duration"):
        rpc(timeout="soon")


def test_a_contract_holds_operations_only() -> None:
    with pytest.raises(Misdeclared, match=r"Mixed.helper is in a contract but has no @rpc; add it, or move"):

        class Mixed(Contract, Protocol):
            def helper(self) -> None: ...


def test_private_methods_may_stand_in_a_contract() -> None:
    class Hidden(Contract, Protocol):
        def _helper(self) -> None: ...

    assert is_contract(Hidden)


def test_options_are_kept_with_the_method() -> None:
    @rpc(idempotent=True, timeout="2s", route="GET /x", allow=scope("a"), faults=(Gone,))
    async def hello(self: object) -> None: ...

    options = options_of(hello)
    assert options is not None
    assert (options.idempotent, options.timeout, options.route, options.faults) == (True, 2.0, "GET /x", (Gone,))
    assert options_of(test_options_are_kept_with_the_method) is None


def test_streams_are_generators_or_return_iterators() -> None:
    class Streams(Contract, Protocol):
        @rpc
        def declared(self) -> AsyncIterator[int]: ...

        @rpc
        async def written(self) -> AsyncIterator[int]:
            yield 1

    assert is_contract(Streams)


def test_a_contract_has_a_name_and_a_version() -> None:
    class BookShop(Contract, Protocol, version="1.4"): ...

    class Other(Contract, Protocol, name="shop"): ...

    assert (BookShop.__hanse_promise__.name, BookShop.__hanse_promise__.version) == ("book_shop", "1.4")
    assert (Other.__hanse_promise__.name, Other.__hanse_promise__.version) == ("shop", "1")


def test_what_implements_a_contract_is_none_itself() -> None:
    class Greeting(Contract, Protocol):
        @rpc
        async def hello(self) -> str: ...

    class English(Greeting):
        async def hello(self) -> str:
            return "Hello"

    assert not is_contract(English)
    assert not is_contract(Contract)


def test_models_are_frozen_and_keyword_only_unless_they_say_otherwise() -> None:
    class Frozen(Model):
        sku: str

    class Loose(Model, frozen=False, kw_only=False):  # type: ignore[misc]  # dataclasses could not
        sku: str

    with pytest.raises(AttributeError):
        cast("Any", Frozen(sku="tea")).sku = "coffee"
    with pytest.raises(TypeError):
        cast("Any", Frozen)("tea")
    loose = cast("Any", Loose)("tea")
    loose.sku = "coffee"
    assert loose.sku == "coffee"


def test_resources_and_events_have_names_and_versions() -> None:
    class LineItem(Resource, collection="lines", topic="line", version=3):
        sku: str

    class LineAdded(Event):
        sku: str

    assert (collection_of(LineItem), topic_of(LineItem), version_of(LineItem)) == ("lines", "line", 3)
    assert (topic_of(LineAdded), version_of(LineAdded)) == ("line_added", 1)


def test_the_base_of_resources_is_no_collection() -> None:
    with pytest.raises(Misdeclared, match=r"expected a subclass of Resource, such as .*, got Resource itself"):
        collection_of(Resource)


@pytest.mark.parametrize(
    ("one", "many"),
    [("order", "orders"), ("city", "cities"), ("day", "days"), ("bus", "buses"), ("dish", "dishes"), ("y", "ys")],
)
def test_plurals_follow_the_simple_rules(one: str, many: str) -> None:
    assert plural(one) == many
