from pathlib import Path

import pytest
import trustme

from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.host import Host
from hanse.transport.direct import NotSent
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.stream.tls import Tls

from .nodes import Bare, Place, call, stream


class Office:
    """An authority, and the certificates that it gave."""

    def __init__(self, folder: Path, name: str = "own") -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self._name = name
        self.authority: str = str(folder / f"{name}-authority.pem")
        self._authority.cert_pem.write_to_path(self.authority)

    def tls(self, *names: str, mutual: bool = True, name: str = "") -> Tls:
        issued = self._authority.issue_cert(*names)
        certificate, key = (str(self._folder / f"{self._name}-{names[0]}.{part}") for part in ("pem", "key"))
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return Tls(certificate=certificate, key=key, authority=self.authority, mutual=mutual, name=name)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def tcp(tmp_path: Path) -> Place:
    return Place("tcp", tmp_path)


async def test_two_with_certificates_of_one_authority_talk(tcp: Place, office: Office) -> None:
    tls = office.tls("127.0.0.1")
    async with tcp.node(tls=tls) as one, tcp.node(tls=tls) as other:
        assert await one.ask(other, call(body=b"x" * 300_000)) == b"x" * 300_000
        assert await other.ask(one, call(body=b"y")) == b"y"
        assert await one.read(other, stream("items", 1, 100_000, 3)) == [1, 100_000, 3]
        assert (one.connections(), other.connections()) == (1, 1)


async def test_a_certificate_for_another_host_is_not_believed(tcp: Place, office: Office) -> None:
    tls = office.tls("elsewhere.example")
    async with tcp.node(tls=tls) as one, tcp.node(tls=tls) as other:
        with pytest.raises(NotSent, match="certificate verify failed"):
            await one.ask(other, call())


async def test_nodes_may_share_a_name(tcp: Place, office: Office) -> None:
    tls = office.tls("shop.internal", name="shop.internal")
    async with tcp.node(tls=tls) as one, tcp.node(tls=tls) as other:
        assert await one.ask(other, call(body=b"x")) == b"x"


async def test_who_shows_no_certificate_of_the_authority_is_not_listened_to(
    tcp: Place, office: Office, tmp_path: Path
) -> None:
    foreign = Office(tmp_path, "foreign").tls("127.0.0.1")
    believes_us = Tls(certificate=foreign.certificate, key=foreign.key, authority=office.authority)
    async with tcp.node(tls=office.tls("127.0.0.1")) as one, tcp.node(tls=believes_us) as other:
        with pytest.raises(NotSent):
            await other.ask(one, call())
        assert one.things.came == []


async def test_who_shows_none_is_listened_to_where_that_is_said(tcp: Place, office: Office, tmp_path: Path) -> None:
    foreign = Office(tmp_path, "foreign").tls("127.0.0.1")
    believes_us = Tls(certificate=foreign.certificate, key=foreign.key, authority=office.authority)
    async with tcp.node(tls=office.tls("127.0.0.1", mutual=False)) as one, tcp.node(tls=believes_us) as other:
        assert await other.ask(one, call(body=b"x")) == b"x"


async def test_who_speaks_without_tls_is_not_understood(tcp: Place, office: Office) -> None:
    async with tcp.node(tls=office.tls("127.0.0.1")) as one, tcp.node() as other:
        with pytest.raises(NotSent):
            await other.ask(one, call())
        with pytest.raises(NotSent):
            await one.ask(other, call())
        bare = await Bare.to(one.address)
        bare.greet()
        await bare.ended()
        await bare.close()


def test_files_that_cannot_be_used_are_named(office: Office, tmp_path: Path) -> None:
    tls = office.tls("127.0.0.1")
    (tmp_path / "empty").write_text("")
    wrong = {
        "authority": Tls(certificate=tls.certificate, key=tls.key, authority="/nowhere"),
        "certificate": Tls(certificate="/nowhere", key=tls.key, authority=tls.authority),
        "cannot be used": Tls(certificate=str(tmp_path / "empty"), key=tls.key, authority=tls.authority),
    }
    for said, settings in wrong.items():
        with pytest.raises(CouldNotStart, match=said):
            StreamDirect("tcp://", Host.system(), tls=settings)


def test_socket_files_need_no_tls(office: Office) -> None:
    with pytest.raises(Misconfigured, match="without TLS"):
        StreamDirect("unix:/tmp/x", Host.system(), tls=office.tls("127.0.0.1"))
