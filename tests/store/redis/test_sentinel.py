"""Sentinels, which know who leads; and servers under TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from tests.store.on_server import WAIT_SECONDS, at_last, handled
from tests.transport import process
from tests.transport.brokered import secured
from tests.transport.process import ServerProcess, free_port
from tests.transport.redis.server import binary

from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.resp import Wire
from hanse.store.redis.scripts import LOST_MAX

from .helpers import opened, opens, wired
from .server import Server, running, why_not

pytestmark = pytest.mark.timeout(120)

WATCHED = """port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor shop 127.0.0.1 {leader} 1
sentinel down-after-milliseconds shop 300
sentinel failover-timeout shop 2000
"""


class Sentinel(ServerProcess):
    title = "Sentinel"
    scheme = "redis"

    def __init__(self, folder: Path, leader: Server) -> None:
        super().__init__(folder / "sentinel.log")
        self._config = folder / "sentinel.conf"
        self._config.write_text(WATCHED.format(port=self.port, folder=folder, leader=leader.port))

    def store(self, *others: int, **options: str) -> str:
        """The URL of a store that it knows of, by way of other ports as well."""
        places = ",".join(f"127.0.0.1:{port}" for port in (*others, self.port))
        return f"redis://{places}/0?" + "&".join(f"{name}={value}" for name, value in options.items())

    def _begun(self) -> subprocess.Popen[bytes]:
        found = binary()
        assert found is not None
        with self._log.open("ab") as log:
            return subprocess.Popen([found, str(self._config), "--sentinel"], stdout=log, stderr=log)


@contextmanager
def watched(folder: Path) -> Generator[tuple[Sentinel, Server, Server]]:
    """A Sentinel, the server that leads, and one that follows it."""
    if why := why_not():
        pytest.skip(why)
    for name in "ab":
        (folder / name).mkdir()
    kept = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")
    with (
        running(folder / "a", *kept) as first,
        running(folder / "b", *kept, "--replicaof", f"127.0.0.1 {first.port}") as second,
        process.running(Sentinel(folder, first)) as sentinel,
    ):
        yield sentinel, first, second


async def followed(wire: Wire, *asked: bytes, has: bytes) -> None:
    """Return when an answer has some words in it; nothing tells of it."""
    async with asyncio.timeout(WAIT_SECONDS):
        while has not in str(await wire.ask(*asked)).encode():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.02)


async def test_where_a_sentinel_has_another_server_lead_the_store_goes_there(tmp_path: Path) -> None:
    with watched(tmp_path) as (sentinel, first, second):
        async with wired(first) as wire:
            await followed(wire, b"INFO", b"replication", has=b"state=online")
        async with wired(sentinel) as wire:
            await followed(wire, b"SENTINEL", b"REPLICAS", b"shop", has=b"%d" % second.port)
        async with opened(sentinel.store(sentinel="shop", prefix="moved", replicas="1")) as safe:
            assert await safe.commit(handled("1")) == (1, 2)
        # One that is not there is passed over.
        async with opened(sentinel.store(free_port(), sentinel="shop", prefix="moved")) as store:
            before = store.log_id
            await asyncio.to_thread(first.kill)
            seq, _ = await at_last(lambda: store.commit(handled("2")))
            assert seq == LOST_MAX + 3
            assert store.log_id != before
            assert await store.load("orders", "1")
            assert await store.load("orders", "2")


async def test_what_is_wrong_about_a_sentinel_is_told(tmp_path: Path) -> None:
    with watched(tmp_path) as (sentinel, first, _):
        with pytest.raises(CouldNotStart, match="this is a Sentinel, which has no rows; add sentinel="):
            await opens(sentinel.store())
        with pytest.raises(CouldNotStart, match="it is no Sentinel; leave out sentinel="):
            await opens(first.store("a", sentinel="shop"))
        with pytest.raises(Unavailable, match="the Sentinel watches no servers by the name of 'other'"):
            await opens(sentinel.store(sentinel="other"))
        with pytest.raises(CouldNotStart, match="see to sentinel_password in the URL"):
            await opens(sentinel.store(sentinel="shop", sentinel_password="secret"))
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+: .*refused|127\.0\.0\.1:\d+: .*Connect"):
            await opens(f"redis://127.0.0.1:{free_port()}?sentinel=shop")


async def test_a_store_under_tls_is_on_a_server_that_is_trusted(quick_server: Server, tmp_path: Path) -> None:
    authority, trusted, mine = trustme.CA(), tmp_path / "ca.pem", tmp_path / "mine.pem"
    authority.cert_pem.write_to_path(trusted)
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(mine)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(theirs)
    authority.configure_trust(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED
    async with secured(quick_server, theirs) as port:
        url = f"rediss://localhost:{port}/0?prefix=secured&synchronous=off"
        async with opened(f"{url}&ssl_ca_certs={trusted}&ssl_certfile={mine}") as store:
            assert await store.commit(handled("1")) == (1, 2)
            assert await store.load("orders", "1")
        with pytest.raises(CouldNotStart, match=r"not trusted: .*; name who signed it: ssl_ca_certs="):
            await opens(url)
        with pytest.raises(Unavailable, match="is away"):
            await opens(f"{url}&ssl_ca_certs={trusted}")
        with pytest.raises(Misconfigured, match=r"the certificates in the URL of the store .* cannot be used"):
            await opens(f"{url}&ssl_ca_certs={tmp_path / 'nowhere'}")
