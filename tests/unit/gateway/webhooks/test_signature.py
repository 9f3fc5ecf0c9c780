"""A signature holds for one id, one second, one body and one secret."""

from base64 import b64encode

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.webhooks.signature import headers_of, is_signed, key_of, secret_of, signed
from hanse.kernel.faults import Misconfigured

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = secret_of(bytes(32))


def test_it_is_that_of_the_standard() -> None:
    # The example in the specification of Standard Webhooks.
    body = b'{"test": 2432232314}'
    assert (
        signed(key_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20), st.integers(0, 2**40), st.binary())
def test_whoever_has_one_of_the_secrets_believes_it(id: str, timestamp: int, body: bytes) -> None:
    headers = headers_of([SECRET, OTHER], id, timestamp, body)
    for secret in (SECRET, OTHER):
        assert is_signed([key_of(secret)], id, timestamp, body, headers["webhook-signature"])


@given(st.sampled_from(["id", "timestamp", "body", "secret", "signature"]))
def test_nobody_believes_it_where_anything_is_changed(changed: str) -> None:
    signature = headers_of([SECRET], "msg_1", 100, b"{}")["webhook-signature"]
    assert not is_signed(
        [key_of(OTHER if changed == "secret" else SECRET)],
        "msg_2" if changed == "id" else "msg_1",
        101 if changed == "timestamp" else 100,
        b"{ }" if changed == "body" else b"{}",
        signature[:-2] + "x=" if changed == "signature" else signature,
    )


@pytest.mark.parametrize("signatures", ["", " ", "v1", "v1a,abc", "v1,", "v1,\u00e9", "x " * 100])
def test_what_is_no_signature_is_none(signatures: str) -> None:
    assert not is_signed([key_of(SECRET)], "msg_1", 100, b"{}", signatures)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "whsec_" + b64encode(bytes(23)).decode(), "short"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        key_of(secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(caught.value)
