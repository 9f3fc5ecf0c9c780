"""Secrets lie sealed in the store: each opens for its own subscription alone, by keys that are replaced in turn."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.gateway import Gateway
from hanse.gateway.webhooks.model import WebhookSecret
from hanse.gateway.webhooks.seal import Seal, is_sealed
from hanse.gateway.webhooks.service import Webhooks
from hanse.gateway.webhooks.signature import is_signed, key_of
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import ServiceSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.store.memory import MemoryStore

from .conftest import ADA, URL, OrderPaid, Outside, Shop, System

OLD = b64encode(b"o" * 32).decode()
pytestmark = pytest.mark.virtual_time

NEW = b64encode(b"n" * 32).decode()
SECRET = "whsec_" + b64encode(b"s" * 32).decode()


def noise(count: int) -> bytes:
    return bytes(range(count))


@given(secret=st.text(min_size=1), id=st.text())
def test_what_is_sealed_opens_and_shows_nothing(secret: str, id: str) -> None:
    sealed = Seal([NEW]).close(id, secret, noise)
    assert is_sealed(sealed)
    assert len(secret) < 4 or secret not in sealed
    assert Seal([OLD, NEW]).open(id, sealed) == secret


def test_without_a_key_and_before_there_was_one_it_lies_open() -> None:
    assert Seal([]).close("one", SECRET, noise) == SECRET
    assert Seal([NEW]).open("one", SECRET) == SECRET
    assert not Seal([NEW]).is_current(SECRET)
    assert Seal([NEW]).close("one", "", noise) == ""


def test_the_first_key_seals_and_the_others_open() -> None:
    old, both = Seal([OLD]), Seal([NEW, OLD])
    sealed = old.close("one", SECRET, noise)
    assert (old.is_current(sealed), both.is_current(sealed)) == (True, False)
    assert both.is_current(both.close("one", both.open("one", sealed), noise))


def test_one_that_was_moved_or_changed_does_not_open() -> None:
    seal = Seal([NEW])
    sealed = seal.close("one", SECRET, noise)
    changed = sealed[:-8] + ("A" if sealed[-8] != "A" else "B") + sealed[-7:]
    for id, text in (("two", sealed), ("one", changed)):
        with pytest.raises(Misconfigured, match=f"subscription {id} was changed in the store") as caught:
            _ = seal.open(id, text)
        assert "whsec" not in str(caught.value)


def test_a_key_that_is_gone_is_named() -> None:
    sealed = Seal([OLD]).close("one", SECRET, noise)
    with pytest.raises(Misconfigured, match=rf"sealed with the key {sealed.split('.')[1]}, and .* has none"):
        _ = Seal([]).open("one", sealed)


@pytest.mark.parametrize("key", ["", "short", b64encode(b"k" * 16).decode(), "x" * 44])
def test_what_is_no_key_is_told_and_not_repeated(key: str) -> None:
    with pytest.raises(Misconfigured, match=r"settings\.keys to be 32 random bytes") as caught:
        _ = Seal([key])
    assert not key or key not in str(caught.value)


class Kept:
    """Nodes that send webhooks, one after the other, on one store."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.outside = Outside(host)
        self.store = MemoryStore(host=host)
        gateway = Gateway().webhooks(OrderPaid, sender=self.outside)
        (cls,) = gateway.services
        assert issubclass(cls, Webhooks)
        self.cls = cls
        self.app = App("shop", Shop, gateway=gateway)

    @asynccontextmanager
    async def running(self, *keys: str) -> AsyncGenerator[System]:
        values: dict[str, object] = {"keys": list(keys)}
        settings = Settings(services={"webhooks": ServiceSettings(store="memory:kept", settings=values)})
        async with Node(self.app, settings, host=self.host, stores=self._store) as node:
            yield System(node, self.outside, self.cls)

    def _store(self, url: str) -> MemoryStore:
        return self.store if url == "memory:kept" else MemoryStore(host=self.host)

    async def stored(self, system: System) -> WebhookSecret:
        return (await system.node.collection(WebhookSecret).find()).items[0]

    def believed(self, secret: str) -> bool:
        at, sent = self.outside.came[-1]
        headers = sent.headers
        return is_signed([key_of(secret)], headers["webhook-id"], int(at), sent.body, headers["webhook-signature"])


@pytest.fixture
def kept(host: Host) -> Kept:
    return Kept(host)


async def test_keys_are_replaced_while_webhooks_go_on(kept: Kept) -> None:
    async with kept.running(OLD) as system:
        secret = (await system.ask(ADA, "subscribe", url=URL)).secret
        sealed = (await kept.stored(system)).current
        assert is_sealed(sealed)
    async with kept.running(NEW, OLD) as system:
        await system.pay("o1")
        await asyncio.sleep(5)
        assert kept.believed(secret)
        await asyncio.sleep(7_300)
        assert Seal([NEW]).is_current((await kept.stored(system)).current)
    async with kept.running(NEW) as system:
        await system.pay("o2")
        await asyncio.sleep(5)
        assert kept.believed(secret)
        new = (await system.ask(ADA, "rotate", id=(await kept.stored(system)).id)).secret
        after = await kept.stored(system)
        assert is_sealed(after.current)
        assert is_sealed(after.former)
        await system.pay("o3")
        await asyncio.sleep(5)
        assert (kept.believed(secret), kept.believed(new)) == (True, True)


async def test_what_lies_open_is_said_and_sealed_once_there_is_a_key(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hanse.webhooks"):
        async with kept.running() as system:
            _ = await system.ask(ADA, "subscribe", url=URL)
            assert not is_sealed((await kept.stored(system)).current)
    assert "secrets of webhooks lie open in the store" in caplog.text
    async with kept.running(NEW) as system:
        await asyncio.sleep(7_300)
        assert is_sealed((await kept.stored(system)).current)


async def test_one_whose_key_is_gone_waits_until_it_is_back(kept: Kept) -> None:
    async with kept.running(OLD) as system:
        secret = (await system.ask(ADA, "subscribe", url=URL)).secret
    async with kept.running(NEW) as system:
        with system.node.context():
            await system.node.client(Shop).pay(order_id="o1")
        await asyncio.sleep(30)
        assert [one.state for one in await system.deliveries()] == ["waiting"]
        assert kept.outside.came == []
    async with kept.running(NEW, OLD) as system:
        await asyncio.sleep(300)
        assert [one.state for one in await system.deliveries()] == ["delivered"]
        assert kept.believed(secret)
