"""The connection to a real NATS server, and to a cluster of three."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]
import pytest
import trustme
from tests.transport.brokered import WAIT_SECONDS, apps, call, echo, opened, pair, refused, saying
from tests.transport.connection_suite import ConnectionSuite

from hanse.kernel.faults import DeadlineExceeded, TooLarge, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Kind, Message
from hanse.testing.transport_things import Things
from hanse.transport.nats.connection import PENDING_BYTES_MAX
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport

from .server import Server, cluster


async def works(url: str, *, secured: bool = False, **options: Any) -> None:  # noqa: ANN401 - as `node`
    """A node that serves and one that asks reach each other."""
    async with pair(url, **options) as (one, _other, _things):
        assert isinstance(one, NatsTransport)
        assert await echo(one) == b"well"
        wire = one.native.native
        assert wire is not None
        assert (wire.get_extra_info("ssl_object") is not None) is secured


def served(folder: Path, *arguments: str, config: str = "") -> Server:
    path = folder / "server.conf"
    path.write_text(config)
    server = Server(folder, *(("-c", str(path)) if config else ()), *arguments)
    server.start()
    server.wait_ready()
    return server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


class TestConnection(ConnectionSuite):
    scheme = "nats"
    pending_max = PENDING_BYTES_MAX

    def make(self, folder: Path) -> Server:
        return Server(folder)


class TestStarting:
    @pytest.mark.parametrize(
        ("greeting", "said"),
        [
            (b"HTTP/1.1 400 No\r\n\r\n", "expected a message of NATS"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "expected what a NATS server says, got b'SSH"),
            (b"INFO {\r\n", "says of itself"),
        ],
    )
    async def test_what_is_no_nats_server_is_told(self, greeting: bytes, said: str) -> None:
        async with saying(greeting) as port:
            assert said in await refused(f"nats://127.0.0.1:{port}", patience=2.0)


class TestWhoAsks:
    async def test_a_user_with_a_password(self, folder: Path) -> None:
        server = served(folder, "--user", "ada", "--pass", "se cret")
        place = f"127.0.0.1:{server.port}"
        try:
            await works(f"nats://ada:se%20cret@{place}")
            await works(f"nats://{place}", user="ada", password="se cret")
            assert "Authorization Violation" in await refused(f"nats://ada:wrong@{place}")
            assert "Authorization Violation" in await refused(f"nats://{place}")
        finally:
            server.kill()

    async def test_a_token(self, folder: Path) -> None:
        server = served(folder, "--auth", "s3cret")
        try:
            await works(f"nats://s3cret@127.0.0.1:{server.port}")
            await works(server.url, token="s3cret")
            assert "Authorization Violation" in await refused(server.url, token="other")
        finally:
            server.kill()

    async def test_a_key(self, folder: Path) -> None:
        seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER).decode()
        public = nkeys.from_seed(seed.encode()).public_key.decode()
        server = served(folder, config=f"authorization: {{ users: [ {{ nkey: {public} }} ] }}")
        other = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER).decode()
        creds = folder / "ada.creds"
        creds.write_text(
            "-----BEGIN NATS USER JWT-----\n"
            f"{base64.urlsafe_b64encode(b'not looked at by this server').decode()}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
        try:
            await works(server.url, nkey=seed)
            assert "Authorization Violation" in await refused(server.url, nkey=other)
            assert "begins with SU" in await refused(server.url, nkey="nonsense")
            assert "cannot be read" in await refused(server.url, credentials=str(folder / "nothing"))
            assert "Authorization Violation" in await refused(server.url, credentials=str(creds))
        finally:
            server.kill()

    async def test_tls_both_ways(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        server = served(
            folder,
            *("--tlsverify", "--tlscert", str(folder / "cert.pem"), "--tlskey", str(folder / "key.pem")),
            *("--tlscacert", str(folder / "ca.pem")),
        )
        trusting = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        authority.issue_cert("ada@example.org").configure_cert(trusting)
        try:
            await works(f"tls://127.0.0.1:{server.port}", tls=trusting, secured=True)
            assert "TLS" in await refused(server.url, patience=2.0)
        finally:
            server.kill()

    async def test_what_a_user_may_not_do_is_logged_and_ends(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        permissions = '{ publish: "hanse.shop.node.>", subscribe: "hanse.shop.>" }'
        users = f"users: [ {{ user: ada, password: a, permissions: {permissions} }} ]"
        server = served(folder, config=f"authorization: {{ {users} }}")
        url = f"nats://ada:a@127.0.0.1:{server.port}"
        transport = NatsTransport(url, Host.system(), Options(app="shop", silence=0.5))
        try:
            async with opened(transport):
                with pytest.raises(Unavailable, match="said nothing"):
                    await echo(transport)
            assert "Permissions Violation for Publish" in caplog.text
        finally:
            server.kill()


class TestWhileAway:
    async def test_what_is_listened_to_may_change(self, folder: Path) -> None:
        server = served(folder)
        app = next(apps)
        one, other = (NatsTransport(server.url, Host.system(), Options(app=app)) for _ in range(2))
        things, more = Things(), Things("more")
        other.listen("things", things.server)
        try:
            async with opened(other, one):
                assert await echo(one) == b"well"
                server.kill()
                while not other.trouble():  # noqa: ASYNC110 - the loop notices when it reads
                    await asyncio.sleep(0)
                with pytest.raises(Unavailable, match="no connection to NATS"):
                    await other.flush()
                other.leave("things")
                other.listen("more", more.server)
                server.start()
                server.wait_ready()
                async with asyncio.timeout(WAIT_SECONDS):
                    await other.native.up()
                    await one.native.up()
                assert (await one.request(Message(Kind.CALL, "1", "more.echo", WAIT_SECONDS, body=b"w"))).body == b"w"
                with pytest.raises((Unavailable, UnknownOperation)):
                    await echo(one)
        finally:
            server.kill()
            things.server.close()
            more.server.close()

    async def test_credentials_that_are_away_too_are_looked_for_until_they_are_back(self, folder: Path) -> None:
        seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER).decode()
        path = folder / "ada.creds"
        text = "\n".join(
            (
                *("-----BEGIN NATS USER JWT-----", "not-looked-at", "------END NATS USER JWT------"),
                *("-----BEGIN USER NKEY SEED-----", seed, "------END USER NKEY SEED------", ""),
            )
        )
        path.write_text(text)
        server = served(folder)
        transport = NatsTransport(server.url, Host.system(), Options(credentials=str(path)))
        try:
            async with opened(transport):
                path.unlink()
                server.restart()
                async with asyncio.timeout(WAIT_SECONDS):
                    while "cannot be read" not in transport.trouble():  # noqa: ASYNC110 - nothing tells of it
                        await asyncio.sleep(0.01)
                    path.write_text(text)
                    await transport.native.up()
                assert transport.trouble() == ""
        finally:
            server.kill()


class TestLimits:
    async def test_a_small_server_takes_small_messages(self, folder: Path) -> None:
        server = served(folder, config="max_payload: 65536")
        app = next(apps)
        one, other = (NatsTransport(server.url, Host.system(), Options(app=app)) for _ in range(2))
        things = Things()
        other.listen("things", things.server)
        try:
            async with opened(other, one):
                assert one.features.bytes_max == 65_536 - 16_384
                assert await echo(one, bytes(one.features.bytes_max)) == bytes(one.features.bytes_max)
                with pytest.raises(TooLarge, match=r"things\.echo is over its limit of 49152 bytes"):
                    await echo(one, bytes(one.features.bytes_max + 1))
                wide = Message(Kind.CALL, "1", "things.echo", headers=Headers(tags={"a": "x" * 65_536}))
                with pytest.raises(TooLarge, match="with its headers"):
                    await one.request(wide)
                assert await echo(one) == b"well"
        finally:
            server.kill()
            things.server.close()

    async def test_an_address_that_is_too_long_is_nobody_s(self, server: Server) -> None:
        transport = NatsTransport(server.url, Host.system(), Options(app=next(apps)))
        async with opened(transport):
            with pytest.raises(UnknownOperation, match="5007 characters"):
                await transport.request(call("x" * 5_000))

    async def test_what_waits_for_a_server_is_bounded(self, folder: Path) -> None:
        server = served(folder)
        transport = NatsTransport(server.url, Host.system(), Options(app=next(apps)))
        try:
            async with opened(transport):
                server.kill()
                while not transport.trouble():  # noqa: ASYNC110 - the loop notices when it reads
                    await asyncio.sleep(0)
                block = bytes(PENDING_BYTES_MAX // 10)
                published = [transport.native.publish(b"a", b"", block) for _ in range(12)]
                assert published == [True] * 9 + [False] * 3
                with pytest.raises(Unavailable, match="no connection to NATS"):
                    await transport.request(call("echo", timeout=0.2))
                server.start()
                server.wait_ready()
                async with asyncio.timeout(WAIT_SECONDS):
                    await transport.native.up()
                    await transport.flush()
        finally:
            server.kill()


@asynccontextmanager
async def clustered(folder: Path, size: int) -> AsyncGenerator[tuple[list[Server], NatsTransport, NatsTransport]]:
    """Servers that know each other; one node that asks at the first, and one that serves at the second."""
    servers = list(cluster(folder, size))
    app = next(apps)
    things = Things()
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait_ready()
        # Each knows one server; of the others they learn.
        one, other = (NatsTransport(server.url, Host.system(), Options(app=app)) for server in servers[:2])
        other.listen("things", things.server)
        async with opened(other, one):
            await _answered(one)
            yield servers, one, other
    finally:
        things.server.close()
        for server in servers:
            server.kill()


class TestCluster:
    async def test_calls_go_on_while_servers_are_killed(self, folder: Path) -> None:
        async with clustered(folder, 3) as (servers, one, other):
            for server in servers[:2]:
                server.kill()
                await _answered(one)
                server.start()
                server.wait_ready()
            assert one.trouble() == other.trouble() == ""

    async def test_a_server_that_is_frozen_is_left(self, folder: Path) -> None:
        async with clustered(folder, 2) as (servers, one, _other):
            servers[0].freeze()
            await _answered(one)


async def _answered(transport: NatsTransport) -> None:
    """Wait until calls go through."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                assert (await transport.request(call("echo", b"well", timeout=1.0))).body == b"well"
            except (Unavailable, UnknownOperation, DeadlineExceeded):
                await asyncio.sleep(0.05)  # nothing tells of it but a call that goes through
            else:
                return
