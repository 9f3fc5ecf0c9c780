"""Webhooks of strangers over real sockets: what is forged, stale, repeated, too large or too deep, and URLs inside."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hanse.gateway.webhooks.signature import headers_of, secret_of
from hanse.kernel.host import Host

from .served import serving

pytestmark = pytest.mark.timeout(120)

SECRET = secret_of(bytes(range(32)))
APP = f"""
from collections.abc import Mapping
from hanse import App, Collection, Event, Gateway, Identity, Resource, Service, Signed, on, rpc

class Payment(Event):
    amount: int
    note: str = ""

class Booking(Resource):
    amount: int

class Books(Service, events=(Payment,)):
    bookings: Collection[Booking]

    @on(Payment)
    async def book(self, payment: Payment) -> None:
        await self.bookings.create(Booking(amount=payment.amount))

    @rpc(idempotent=True, route="GET /booked")
    async def booked(self) -> list[int]:
        return sorted([one.amount async for one in self.bookings.scan()])

async def identify(headers: Mapping[str, str]) -> Identity:
    return Identity("ada")

gateway = Gateway(identify=identify).rpc(Books).webhooks(Payment)
gateway.receive(Payment, "/hooks/bank", signed=Signed.standard("{SECRET}"))
app = App("books", Books, gateway=gateway)
"""
SETTINGS = '[gateway]\nmetrics = "open"\n'
INSIDE = (
    "http://93.184.216.34/",
    "https://127.0.0.1/",
    "https://10.0.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::a00:1]/",
    "https://[2002:a00:1::]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/",
    "https://167772161/",
    "https://0x0a000001/",
    "https://012.0.0.1/",
    "https://0177.1/",
    "https://127.1/",
    "https://ada:secret@example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
)
"""Where nothing may be sent: addresses inside in every form, plain HTTP, and what is no web address."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("books")
    _ = (folder / "books.py").write_text(APP)
    _ = (folder / "hanse.toml").write_text(SETTINGS)
    with serving(folder, "books.py") as found:
        yield found


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    named = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=30)
    try:
        with suppress(BrokenPipeError):  # it answers before it has read what is too large
            connection.request("GET" if body is None else "POST", parts.path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def hook(url: str, body: bytes, id: str, *, ago: float = 0.0, **headers: str) -> int:
    signed = headers_of([SECRET], id, int(Host.system().now() - ago), body)
    named = {name.replace("-", "_"): text for name, text in signed.items()} | headers
    return ask(f"{url}/hooks/bank", body, **named)[0]


def refused(url: str) -> dict[str, int]:
    figures = ask(f"{url}/metrics")[1].decode()
    found = re.findall(r'^hanse_webhooks_refused_total\{.*reason="(\w+)"\} (\d+)', figures, re.MULTILINE)
    return {reason: int(count) for reason, count in found}


def test_of_all_that_strangers_send_one_webhook_is_believed_once(url: str) -> None:
    paid = b'{"amount": 7}'
    assert [hook(url, paid, "msg_1") for _ in range(3)] == [204] * 3
    assert ask(f"{url}/hooks/bank", paid)[0] == 401
    assert hook(url, b'{"amount": 8}', "msg_2", webhook_signature="v1,forged") == 401
    assert hook(url, b'{"amount": 9}', "msg_3", ago=400) == 401
    assert hook(url, b'{"amount": 9}', "msg_3", ago=-400) == 401
    assert hook(url, b'{"amount": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "msg_4") == 400
    assert hook(url, b'{"amount": 1, "note": "' + b"x" * 1_100_000 + b'"}', "msg_5") == 413
    bomb = gzip.compress(b'{"amount": 1, "note": "' + bytes(50_000_000) + b'"}')
    assert hook(url, bomb, "msg_6", content_encoding="gzip") in {413, 415}
    assert hook(url, b'{"amount": "many"}', "msg_7") == 422
    assert refused(url) == {"unsigned": 1, "forged": 1, "stale": 2}
    assert hook(url, b'{"amount": 10}', "msg_8") == 204
    for _ in range(1_000):
        if json.loads(ask(f"{url}/booked")[1]) == [7, 10]:
            return
    raise AssertionError(ask(f"{url}/booked"))


@pytest.mark.parametrize("inside", INSIDE)
def test_nobody_subscribes_with_a_url_that_leads_inside(url: str, inside: str) -> None:
    status, said = ask(f"{url}/webhooks", json.dumps({"url": inside}).encode())
    assert (status, json.loads(said)["code"]) == (422, "address_refused")
    assert b"secret" not in said
    assert json.loads(ask(f"{url}/webhooks")[1])["items"] == []
