"""A webhook is believed if it is signed, of now, and as it was sent."""

import hashlib
import hmac
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.webhooks.signature import headers_of, secret_of
from hanse.gateway.webhooks.verify import Scheme, Signed, WebhookRefused
from hanse.kernel.faults import Misconfigured

NOW = 1_700_000_000
BODY = b'{"id":"evt_1","ref":"main"}'
SECRET = secret_of(bytes(range(32)))
OTHER = secret_of(bytes(32))
Headers = Mapping[str, str]


def standard(body: bytes = BODY, at: int = NOW, secret: str = SECRET) -> Headers:
    return headers_of([secret], "msg_1", at, body)


def stripe(body: bytes = BODY, at: int = NOW, secret: str = SECRET) -> Headers:
    digest = hmac.new(secret.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={at},v1={digest},v0=old"}


def github(body: bytes = BODY, at: int = NOW, secret: str = SECRET) -> Headers:
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


Sent = Callable[..., Headers]
SCHEMES: list[tuple[Callable[..., Scheme], Sent]] = [
    (Signed.standard, standard),
    (Signed.stripe, stripe),
    (Signed.github, github),
]
each = pytest.mark.parametrize(("scheme", "sent"), SCHEMES, ids=["standard", "stripe", "github"])
timed = pytest.mark.parametrize(("scheme", "sent"), SCHEMES[:2], ids=["standard", "stripe"])


@each
def test_what_is_signed_by_any_of_the_secrets_is_believed(scheme: Callable[..., Scheme], sent: Sent) -> None:
    for secret in (SECRET, OTHER):
        assert scheme(SECRET, OTHER).verify(sent(secret=secret), BODY, NOW)


def test_the_id_is_one_that_was_signed() -> None:
    assert Signed.standard(SECRET).verify(standard(), BODY, NOW) == "msg_1"
    assert Signed.stripe(SECRET).verify(stripe(), BODY, NOW) == "evt_1"
    other = {**github(), "x-github-delivery": "another"}
    assert Signed.github(SECRET).verify(github(), BODY, NOW) == Signed.github(SECRET).verify(other, BODY, NOW)


@each
def test_what_is_forged_changed_or_unsigned_is_refused(scheme: Callable[..., Scheme], sent: Sent) -> None:
    believes = scheme(SECRET)
    forged = [(sent(secret=OTHER), BODY), (sent(), BODY + b" "), ({}, BODY), (dict.fromkeys(sent(), ""), BODY)]
    for headers, body in forged:
        with pytest.raises(WebhookRefused):
            believes.verify(headers, body, NOW)


@timed
def test_what_is_too_old_or_of_tomorrow_is_refused(scheme: Callable[..., Scheme], sent: Sent) -> None:
    believes = scheme(SECRET)
    assert believes.verify(sent(), BODY, NOW + 300)
    assert believes.verify(sent(), BODY, NOW - 300)
    for now, told in ((NOW + 301, "301 s ago"), (NOW - 301, "301 s from now")):
        with pytest.raises(WebhookRefused, match=told):
            believes.verify(sent(), BODY, now)


def test_a_time_cannot_be_changed() -> None:
    headers = {**standard(at=NOW - 1_000), "webhook-timestamp": str(NOW)}
    with pytest.raises(WebhookRefused):
        Signed.standard(SECRET).verify(headers, BODY, NOW)
    old = stripe(at=NOW - 1_000)["stripe-signature"]
    with pytest.raises(WebhookRefused):
        Signed.stripe(SECRET).verify({"stripe-signature": old.replace(str(NOW - 1_000), str(NOW))}, BODY, NOW)


@given(
    st.sampled_from([Signed.standard(SECRET), Signed.stripe(SECRET), Signed.github(SECRET)]),
    st.dictionaries(
        st.sampled_from(
            ["webhook-id", "webhook-timestamp", "webhook-signature", "stripe-signature", "x-hub-signature-256"]
        ),
        st.one_of(st.text(max_size=40), st.just(str(NOW)), st.from_regex(r"t=\d+,v1=\w*", fullmatch=True)),
    ),
    st.binary(max_size=50),
)
def test_whatever_comes_is_refused_and_nothing_breaks(scheme: Scheme, headers: Headers, body: bytes) -> None:
    with pytest.raises(WebhookRefused):
        scheme.verify(headers, body, NOW)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"id":""}', b'{"id":7}', b'{"id":"%b"}' % (b"x" * 300), b"no"])
def test_a_signed_body_without_an_id_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="id"):
        Signed.stripe(SECRET).verify(stripe(body), body, NOW)


@pytest.mark.parametrize("id", ["x" * 256, "\u00e9"])
def test_an_id_that_is_no_short_text_is_refused(id: str) -> None:
    with pytest.raises(WebhookRefused, match="webhook-id"):
        Signed.standard(SECRET).verify({**standard(), "webhook-id": id}, BODY, NOW)


@each
def test_no_secret_or_an_empty_one_is_told_at_the_start(scheme: Callable[..., Scheme], sent: Sent) -> None:
    for secrets in ((), ("",), (SECRET, "")):
        with pytest.raises(Misconfigured, match="secret"):
            scheme(*secrets)
