"""Folders of files: what is not there first."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from hanse import Gateway, Misdeclared, Resource
from hanse.gateway.files import IMMUTABLE, cache_control, encodings_in, find, is_safe

Opened = Callable[[Gateway], Any]

BESIDE = "what is not served"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / ".well-known").mkdir()
    (page / "empty").mkdir()
    (page / "index.html").write_text("<h1>shop</h1>")
    (page / "assets" / "app-3f9c1b2e.js").write_text("live()" * 100)
    (page / "assets" / "app-3f9c1b2e.js.gz").write_bytes(gzip.compress(b"live()" * 100))
    (page / "assets" / "index.html").write_text("assets")
    (page / ".env").write_text(BESIDE)
    (page / ".well-known" / "security.txt").write_text("mail us")
    (tmp_path / "secret.txt").write_text(BESIDE)
    (page / "out.txt").symlink_to(tmp_path / "secret.txt")
    (page / "env.txt").symlink_to(page / ".env")
    (page / "in.txt").symlink_to(page / "index.html")
    os.mkfifo(page / "pipe")
    return page


@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/out.txt",
        "/env.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets%2f..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/assets//app-3f9c1b2e.js",
        "/index.html/",
        "/pipe",
        "/empty/",
        "/" + "a" * 300,
        "/assets/.%2e/.env",
    ],
)
async def test_what_is_not_in_the_folder_is_not_there(opened: Opened, site: Path, path: str) -> None:
    answer = await opened(Gateway().static("/", site))("GET", path)

    assert answer.status == 404
    assert BESIDE.encode() not in answer.body


@given(st.lists(st.text(st.sampled_from([*"./\\\0:ax%"]), max_size=4), max_size=5))
def test_a_safe_path_stays_below(parts: list[str]) -> None:
    if is_safe(parts):
        path = os.path.normpath(os.path.join("/srv/of", *parts))  # noqa: PTH118 - what the system makes of it
        assert (path + "/").startswith("/srv/of/")


def test_a_single_page_needs_its_page_and_a_path_is_taken_once(site: Path) -> None:
    with pytest.raises(Misdeclared, match=r"expected an index\.html"):
        Gateway().static("/", site / "empty", spa=True)
    with pytest.raises(Misdeclared, match="/more/ has files or an application already"):
        Gateway().static("/more", site).static("/more/", site)


async def test_a_single_page_answers_for_its_own_pages_only(opened: Opened, order: type[Resource], site: Path) -> None:
    door = opened(Gateway("/v1").resources(order).static("/", site, spa=True))
    html = "text/html,*/*;q=0.8"

    assert (await door("GET", "/baskets/7", accept=html)).body == b"<h1>shop</h1>"
    assert (await door("GET", "/baskets/7", accept=html)).headers["content-type"].startswith("text/html")
    for path in ("/assets/gone.js", "/api/gone", "/v1/gone", "/v1/orders/1/2"):
        missing = await door("GET", path, accept=html)
        assert (missing.status, missing.headers["content-type"]) == (404, "application/problem+json")
    assert (await door("GET", "/baskets/7", accept="application/json")).status == 404
    assert (await door("GET", "/baskets/7")).status == 404


async def test_files_are_below_no_prefix(opened: Opened, site: Path) -> None:
    door = opened(Gateway("/api").static("/", site))

    assert (await door("GET", "/")).body == b"<h1>shop</h1>"
    assert (await door("GET", "/api/")).status == 404


async def test_a_folder_has_a_slash_at_its_end(opened: Opened, site: Path) -> None:
    door = opened(Gateway().static("/", site).static("/page", site))
    moved, root = await door("GET", "/assets?x=1"), await door("GET", "/page")

    assert (moved.status, moved.headers["location"]) == (308, "/assets/?x=1")
    assert root.headers["location"] == "/page/"
    assert (await door("GET", "/assets/")).body == b"assets"
    assert (await door("GET", "/page/.well-known/security.txt")).body == b"mail us"
    assert (await door("GET", "/in.txt")).body == b"<h1>shop</h1>"


async def test_what_is_known_is_not_sent_again(opened: Opened, site: Path) -> None:
    door = opened(Gateway().static("/", site))
    first = await door("GET", "/index.html")
    known = await door("GET", "/index.html", if_none_match=f'"x", W/{first.headers["etag"]}')
    since = await door("GET", "/index.html", if_modified_since=first.headers["last-modified"])
    (site / "index.html").write_text("<h1>new</h1>")

    assert (known.status, known.body, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert since.status == 304
    assert (await door("GET", "/index.html", if_modified_since="yesterday")).status == 200
    assert (await door("GET", "/index.html", if_none_match=first.headers["etag"])).status == 200


async def test_a_part_can_be_asked_for(opened: Opened, site: Path) -> None:
    door = opened(Gateway().static("/", site))
    part = await door("GET", "/index.html", range="bytes=4-7")

    assert (part.status, part.body, part.headers["content-range"]) == (206, b"shop", "bytes 4-7/13")
    assert (await door("GET", "/index.html", range="bytes=99-")).status == 416


async def test_what_stands_compressed_beside_is_sent(opened: Opened, site: Path) -> None:
    door = opened(Gateway().static("/", site))
    plain = await door("GET", "/assets/app-3f9c1b2e.js")
    small = await door("GET", "/assets/app-3f9c1b2e.js", accept_encoding="br, gzip")

    assert (small.headers["content-encoding"], small.headers["vary"]) == ("gzip", "accept-encoding")
    assert gzip.decompress(small.body) == plain.body
    assert small.headers["etag"] != plain.headers["etag"]
    assert small.headers["content-type"].startswith("text/javascript")
    assert small.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("app-3f9c1b2e.js", True),
        ("index.CZ8x1d0a.css", True),
        ("chunk-3f9c1b2e.min.js", True),
        ("index.html", False),
        ("bootstrap-responsive.css", False),
        ("app.js", False),
        ("report-20261121.pdf", False),
        ("IMG-DSC00123.jpg", False),
        ("invoice-2026q3final.pdf", False),
        ("jquery-3.7.1.min.js", False),
    ],
)
def test_only_names_with_a_hash_are_kept(name: str, kept: bool) -> None:
    assert (cache_control(name) == IMMUTABLE) is kept


def test_encodings_are_what_the_client_takes() -> None:
    assert encodings_in("") == []
    assert encodings_in("gzip;q=0.000, zstd") == ["zstd"]
    assert encodings_in("*") == ["br", "zstd", "gzip"]


def test_a_folder_that_went_away_has_nothing(tmp_path: Path) -> None:
    assert find(tmp_path / "gone", ("a",), []) is None
