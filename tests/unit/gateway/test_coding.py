"""Answers are compressed for those who take it, and bodies unpacked, within limits."""

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.coding import LARGE_BYTES, deflated, inflated, takes_gzip
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.gateway.problem import UnsupportedCoding
from hanse.kernel.faults import Malformed, TooLarge

Door = Any
Opened = Callable[[Gateway], Door]

NOTE = "all work and no play " * 200


@given(st.text(st.sampled_from("gzip*;q=0.1,br identity"), max_size=40))
def test_no_header_fails(header: str) -> None:
    assert takes_gzip(header) in {True, False}


@pytest.mark.parametrize("header", ["", "br", "identity", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=2", "gzip;q=a"])
def test_who_does_not_take_it_is_not_given_it(header: str) -> None:
    assert not takes_gzip(header)


@pytest.mark.parametrize("header", ["gzip", "GZIP", "deflate, gzip;q=0.1", "*", "x-gzip", "identity;q=0.5, gzip;q=0.5"])
def test_who_takes_it_is_given_it(header: str) -> None:
    assert takes_gzip(header)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_another_coding_is_refused(coding: str) -> None:
    with pytest.raises(UnsupportedCoding):
        inflated(b"", coding, Limits())


PACKED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("body", [b"", b"{}", PACKED[:-1], PACKED + b"x", b"\x1f\x8b" * 9])
def test_what_is_not_one_whole_stream_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="gzip"):
        inflated(body, "gzip", Limits())


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    with pytest.raises(TooLarge, match="unpacked"):
        inflated(bomb, "gzip", Limits(body_bytes=100_000_000))
    with pytest.raises(TooLarge):
        inflated(gzip.compress(bytes(range(256)) * 5000), "gzip", Limits(inflate_ratio=10_000))


@given(st.binary(max_size=3000))
def test_what_is_packed_comes_out_as_it_was(body: bytes) -> None:
    assert inflated(deflated(body), "gzip", Limits()) == body


async def test_a_large_answer_is_compressed(door: Door) -> None:
    written = await door("PUT", "/orders/1", {"sku": "tea", "note": NOTE}, accept_encoding="gzip")
    plain = await door("GET", "/orders/1")
    packed = await door("GET", "/orders/1", accept_encoding="gzip, br")

    assert gzip.decompress(packed.body) == plain.body == gzip.decompress(written.body)
    assert (packed.headers["content-encoding"], packed.headers["content-length"]) == ("gzip", str(len(packed.body)))
    assert (plain.headers["etag"], packed.headers["etag"]) == ('"1"', '"1-gzip"')
    assert "Accept-Encoding" in plain.headers["vary"]
    assert "content-encoding" not in plain.headers


async def test_head_tells_what_get_would(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea", "note": NOTE})
    head, get = [await door(method, "/orders/1", accept_encoding="gzip") for method in ("HEAD", "GET")]

    assert head.body == b""
    assert {**head.headers, "x-request-id": ""} == {**get.headers, "x-request-id": ""}


async def test_the_tag_of_a_compressed_answer_is_good_for_conditions(door: Door) -> None:
    await door("PUT", "/orders/1", {"sku": "tea", "note": NOTE})
    same = await door("GET", "/orders/1", if_none_match='"1-gzip"', accept_encoding="gzip")
    stale = await door("PATCH", "/orders/1", {"sku": "ink"}, if_match='"9-gzip"')
    written = await door("PATCH", "/orders/1", {"sku": "ink"}, if_match='"1-gzip"')

    assert (same.status, same.headers["etag"]) == (304, '"1-gzip"')
    assert (stale.status, written.status) == (412, 200)


async def test_what_is_small_or_a_stream_stays_as_it_is(door: Door) -> None:
    small = await door("PUT", "/orders/1", {"sku": "tea"}, accept_encoding="gzip")
    wire = door.open("/orders", accept_encoding="gzip", accept="text/event-stream")
    start = await wire.next()
    wire.leave()

    assert "content-encoding" not in small.headers
    assert b"content-encoding" not in dict(start["headers"])


async def test_compression_can_be_left_out(opened: Opened, order: type[Any]) -> None:
    door = opened(Gateway(limits=Limits(compress_bytes=0)).resources(order))
    answer = await door("PUT", "/orders/1", {"sku": "tea", "note": NOTE}, accept_encoding="gzip")
    assert "content-encoding" not in answer.headers


async def test_a_very_large_answer_is_compressed_beside_the_loop(door: Door) -> None:
    for number in range(20):
        await door("PUT", f"/orders/{number}", {"sku": "tea", "note": NOTE})
    answer = await door("GET", "/orders", accept_encoding="gzip")

    assert len(plain := gzip.decompress(answer.body)) > LARGE_BYTES
    assert plain.startswith(b'{"items":[')


async def test_a_body_may_come_compressed(door: Door) -> None:
    body = gzip.compress(b'{"sku": "tea"}')
    taken = await door("POST", "/orders", body, content_encoding="gzip")
    other = await door("POST", "/orders", zlib.compress(b"{}"), content_encoding="deflate")
    broken = await door("POST", "/orders", body[:-3], content_encoding="gzip")

    assert (taken.status, taken.json["sku"]) == (201, "tea")
    assert (other.status, other.headers["accept-encoding"]) == (415, "gzip")
    assert broken.status == 400


async def test_a_body_over_the_limit_when_unpacked_is_413(door: Door) -> None:
    assert (await door("POST", "/orders", gzip.compress(b" " * 5_000_000), content_encoding="gzip")).status == 413
