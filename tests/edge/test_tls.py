"""TLS at the edge: a certificate that is given, and one to develop with; on every engine."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trustme

from hanse.control.edge_table import Pool, Server
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.certificate import development_certificate
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host

from .conftest import ENGINES, PROGRAMS, Edge
from .test_grpc import NAME, Stock, aio, grpc, stocked
from .wire import PATIENCE, Exchange, Upstream, connected, serving

Given = Callable[[Path], tuple[Path, Path | None, bytes]]
"""Certificate, key, and what is to be trusted for them."""


def in_one_file(folder: Path) -> tuple[Path, Path | None, bytes]:
    authority = trustme.CA()
    both = folder / "own.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)
    return both, None, authority.cert_pem.bytes()


def in_two_files(folder: Path) -> tuple[Path, Path | None, bytes]:
    authority = trustme.CA()
    own, certificate, key = authority.issue_cert("localhost"), folder / "own.pem", folder / "own.key"
    own.private_key_pem.write_to_path(key)
    for number, part in enumerate(own.cert_chain_pems):
        part.write_to_path(certificate, append=number > 0)
    return certificate, key, authority.cert_pem.bytes()


def to_develop(folder: Path) -> tuple[Path, Path | None, bytes]:
    certificate, key = development_certificate(folder, Host.system())
    return certificate, key, certificate.read_bytes()


@pytest.fixture
def folder() -> Iterator[Path]:
    """One whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="edge") as name:
        yield Path(name)


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine whose program is there."""
    name: str = request.param
    try:
        _ = PROGRAMS.get(name, str)()
    except CouldNotStart as missing:
        pytest.skip(missing.detail)
    return name


@asynccontextmanager
async def secured(engine: str, folder: Path, given: Given) -> AsyncGenerator[tuple[Edge, bytes]]:
    """An edge that shows a certificate, and what is to be trusted."""
    certificate, key, trusted = given(folder)
    place = Place(folder=folder / "run", port=0, certificate=str(certificate), key=str(key or ""))
    driver = ENGINES[engine](place)
    url = await driver.start()
    assert url.startswith("https://127.0.0.1:")
    try:
        # Not each of these certificates is for an address.
        yield Edge(driver, url.replace("127.0.0.1", "localhost")), trusted
    finally:
        await driver.stop(0.0)


async def echo(exchange: Exchange) -> None:
    request = await exchange.whole()
    await exchange.answer(200, request.body)


@pytest.mark.parametrize("given", [in_one_file, in_two_files, to_develop])
async def test_an_edge_with_a_certificate_speaks_tls(engine: str, folder: Path, given: Given) -> None:
    one = Upstream("one", echo)
    async with secured(engine, folder, given) as (edge, trusted), serving(one):
        _ = await edge.show(edge.table(edge.pool(one, sticky="seat")))
        trusting = ssl.create_default_context(cadata=trusted.decode())
        cookies = {"lang": "de", "theme": "dark"}
        async with httpx2.AsyncClient(http2=True, verify=trusting, cookies=cookies, timeout=PATIENCE) as client:
            got = await client.get(edge.url + "/a%20b?x=1")
            sent = await client.post(edge.url + "/orders", content=b"order")
    assert got.http_version == ("HTTP/2" if edge.features.grpc else "HTTP/1.1")
    assert "; Secure" in got.headers["set-cookie"]
    assert (sent.status_code, sent.content) == (200, b"order")
    assert [request.target for request in one.asked] == ["/a%20b?x=1", "/orders"]
    first = one.asked[0].headers
    assert (first["x-forwarded-proto"], first["host"]) == ("https", edge.url.removeprefix("https://"))
    assert sorted(first["cookie"].split("; ")) == ["lang=de", "theme=dark"]


async def test_calls_of_grpc_come_by_tls(engine: str, folder: Path) -> None:
    async with secured(engine, folder, in_one_file) as (edge, trusted), stocked(Stock("one")) as there:
        if not edge.features.grpc:
            pytest.skip("it speaks HTTP/1.1 to servers")
        pool = Pool(service=edge.service, release="1", servers=(Server(id=edge.service, port=there["one"][0]),))
        _ = await edge.show(edge.table(pool, target=edge.target(protocol="h2c")))
        credentials: Any = grpc.ssl_channel_credentials(trusted)
        async with aio.secure_channel(edge.url.removeprefix("https://"), credentials) as channel:
            assert await channel.unary_unary(NAME)(b"", timeout=PATIENCE) == b"one"


def renewed(folder: Path, place: Place) -> ssl.SSLContext:
    """Replace certificate and key as whoever renews them does, by another authority; who trusts that alone."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    for name, parts in ((place.key, [own.private_key_pem]), (place.certificate, own.cert_chain_pems)):
        beside = folder / "beside"
        _ = beside.write_bytes(b"".join(part.bytes() for part in parts))
        _ = beside.replace(name)
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())


async def shows(url: str, trusting: ssl.SSLContext) -> bool:
    """Whether whoever connects now meets a certificate of this authority."""
    place = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(place.hostname, place.port, ssl=trusting)
    except ssl.SSLCertVerificationError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def test_a_renewed_certificate_is_shown_and_no_connection_is_lost(engine: str, folder: Path) -> None:
    one = Upstream("one", echo)
    async with secured(engine, folder, in_two_files) as (edge, trusted), serving(one):
        _ = await edge.show(edge.table(edge.pool(one)))
        before = ssl.create_default_context(cadata=trusted.decode())
        place = Place(folder=folder, certificate=str(folder / "own.pem"), key=str(folder / "own.key"))
        async with connected(edge.url, tls=before) as connection, asyncio.timeout(2 * PATIENCE):
            for _ in range(2):
                # What is no certificate changes nothing, and is no reason to miss the next one.
                _ = (folder / "own.pem").write_text("none")
                trusting = renewed(folder, place)
                while not await shows(edge.url, trusting):
                    assert (await connection.ask("GET", "/")).status == 200
                assert (await connection.ask("GET", "/")).status == 200
                assert not await shows(edge.url, before)


async def test_a_certificate_that_is_none_is_told(engine: str, folder: Path) -> None:
    def none(folder: Path) -> tuple[Path, Path | None, bytes]:
        (folder / "own.pem").write_text("none")
        return folder / "own.pem", None, b""

    with pytest.raises(CouldNotStart, match="expected a certificate and its key"):
        async with secured(engine, folder, none):
            pass
