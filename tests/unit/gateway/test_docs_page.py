"""The page at /docs, as it is served; what it does in a browser is tested there."""

import base64
import hashlib
import re
from typing import Any

import pytest

from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.kernel.faults import Unauthenticated
from hanse.kernel.message import Identity

# What the fixtures give is defined in conftest.py, which cannot be imported.
Door = Any
Opened = Any

pytestmark = pytest.mark.virtual_time


async def test_the_page_can_be_left_out(opened: Opened, order: type[Resource]) -> None:
    assert (await opened(Gateway(docs=False).resources(order))("GET", "/docs")).status == 404


async def test_a_resource_of_the_apps_own_wins(opened: Opened, order: type[Resource]) -> None:
    assert (await opened(Gateway().resources(order, "/docs"))("GET", "/docs")).json["items"] == []


async def test_the_browser_may_run_what_we_wrote_and_nothing_else(door: Door) -> None:
    answer = await door("GET", "/docs")
    policy = answer.headers["content-security-policy"]
    page = answer.body.decode()
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)

    assert [len(scripts), len(styles)] == [1, 1]
    for text in (*scripts, *styles):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


async def test_the_page_is_small_and_asks_nobody_else(door: Door) -> None:
    answer = await door("GET", "/docs")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(answer.body) < 60_000
    assert b"http://" not in answer.body
    assert b"https://" not in answer.body


async def test_the_browser_keeps_it_until_it_is_another(door: Door) -> None:
    first = await door("GET", "/docs")
    again = await door("GET", "/docs", if_none_match=first.headers["etag"])

    assert (again.status, again.body) == (304, b"")
    assert (await door("HEAD", "/docs")).body == b""


async def test_it_stands_below_the_prefix_and_asks_nobody_who_they_are(opened: Opened, order: type[Resource]) -> None:
    async def identify(_: object) -> Identity:
        raise Unauthenticated

    door = opened(Gateway("/api", identify=identify).resources(order))

    assert (await door("GET", "/api/docs")).status == 200
    assert (await door("GET", "/api/openapi.json")).status == 401
    assert (await door("GET", "/docs")).status == 401


async def test_it_is_compressed_for_who_takes_that(door: Door) -> None:
    plain, packed = await door("GET", "/docs"), await door("GET", "/docs", accept_encoding="gzip")

    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) * 2 < len(plain.body)
