"""Whatever strangers write, the readers of REST understand it or refuse it by a fault of theirs."""

import string
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from hanse.contract.link import Link
from hanse.contract.model import Model, Resource
from hanse.gateway.accept import liked_best
from hanse.gateway.expansion import Expansion, Target
from hanse.gateway.fields import Wrong
from hanse.gateway.filters import asked, asked_in, asked_of_row, ids_in
from hanse.gateway.preconditions import is_known, is_same, revisions_in
from hanse.gateway.prefer import WAIT_SECONDS_MAX, preferences_in
from hanse.gateway.unknown_fields import refuse_unknown
from hanse.kernel.faults import Invalid, Malformed, TooLarge
from hanse.service.json_patch import PatchConflict
from hanse.service.shape import shape_of

Json = Any


class Address(Model):
    city: str = ""


class Order(Resource):
    sku: str = ""
    count: int = 0
    tags: list[str] = msgspec.field(default_factory=list)
    labels: dict[str, int] = msgspec.field(default_factory=dict)
    address: Address | None = None
    boss: Annotated[str, Link("orders")] = ""


NAMES = ["sku", "count", "tags", "labels", "labels.x", "address", "address.city", "boss", "id", "rev", "none", ""]
MEMBERS = ["where", "sort", "limit", "cursor", "fields", "expand", "total", "after", "$and", "$or", "$not"]
OPERATORS = ["eq", "ne", "in", "lt", "lte", "gt", "gte", "starts", "ends", "contains", "like", ""]
words = st.sampled_from([*NAMES, *MEMBERS, *OPERATORS]) | st.text(max_size=4)
keys = st.builds(lambda name, how: f"{name}[{how}]" if how else name, words, st.sampled_from(OPERATORS)) | words
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)
headers = st.text(string.printable, max_size=40) | st.lists(
    st.sampled_from([*' ,;="*W/\\', "q", "return", "minimal", "wait", "9", "application/json", "0.5", "respond-async"])
).map("".join)


@settings(max_examples=300)
@given(st.lists(st.tuples(keys, words), max_size=4))
def test_any_query_string_is_understood_or_refused(pairs: list[tuple[str, str]]) -> None:
    text = urlencode(pairs, errors="surrogatepass")
    readers: list[Callable[[], object]] = [
        lambda: asked(Order, text),
        lambda: asked_of_row(Order, text),
        lambda: ids_in(text),
    ]
    for read in readers:
        with suppress(Invalid, TooLarge):
            read()


@settings(max_examples=300)
@given(json | st.dictionaries(st.sampled_from(MEMBERS), json, max_size=4))
def test_any_document_is_understood_or_refused(document: Json) -> None:
    with suppress(Invalid, TooLarge):
        asked_in(Order, document)


@given(st.lists(words | st.just("boss.boss"), max_size=3))
def test_any_name_of_a_link_is_understood_or_refused(names: list[str]) -> None:
    rows: Any = None
    with suppress(Wrong):
        Expansion({"orders": Target(Order, rows, "shop")}).steps(Order, names)


@settings(max_examples=300)
@given(json, st.sampled_from([None, "merge", "json"]))
def test_any_body_is_understood_or_refused_strictly(value: Json, form: Any) -> None:  # noqa: ANN401 - a literal
    with suppress(Invalid):
        refuse_unknown(Order, msgspec.json.encode(value), form)


@settings(max_examples=300)
@given(json)
def test_any_patch_makes_a_row_or_is_refused(patch: Json) -> None:
    shape = shape_of(Order)
    row = Order(id="1", rev=7, tags=["a"], labels={"x": 1}, address=Address(city="b"))
    for apply in (shape.merged, shape.edited, shape.replaced):
        with suppress(Invalid, Malformed, PatchConflict, TooLarge):
            changed = apply(row, patch)
            assert (changed.id, changed.rev) == ("1", 7)


@given(headers)
def test_any_header_is_understood_or_passed_over(header: str) -> None:
    assert 0 <= preferences_in(header).wait <= WAIT_SECONDS_MAX
    assert liked_best(header, ["application/json", "application/jsonl"]).startswith("application/json")
    assert all(rev > 0 for rev in revisions_in(header, weak=True))
    assert is_same(header, b'W/"x"') in {True, False}
    assert is_known(header, 7) in {True, False}


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 2000, b""])
def test_what_is_no_json_is_left_to_who_reads_it(body: bytes) -> None:
    refuse_unknown(Order, body)
