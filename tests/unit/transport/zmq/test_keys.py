"""Lists of keys, and the answers that ZeroMQ is given when it asks for one."""

from __future__ import annotations

import pytest
import zmq
from hypothesis import given, strategies as st
from zmq.utils import z85

from hanse.kernel.faults import CouldNotStart
from hanse.transport.zmq.gatekeeper import DOMAIN, verdict
from hanse.transport.zmq.keys import KEY_BYTES, is_key, listed, new_keys

KEY, SECRET = new_keys()


def question(*, domain: bytes = DOMAIN, mechanism: bytes = b"CURVE", key: bytes = z85.decode(KEY)) -> list[bytes]:
    return [b"1.0", b"7", domain, b"10.0.0.7", b"", mechanism, key]


def test_a_key_of_the_list_may_connect() -> None:
    assert verdict(question(), {KEY}.__contains__) == [b"1.0", b"7", b"200", b"", KEY.encode(), b""]


@pytest.mark.parametrize(
    "asked",
    [
        question(key=bytes(KEY_BYTES)),
        question(key=b"short"),
        question(domain=b"other"),
        question(mechanism=b"NULL"),
        question(mechanism=b"PLAIN"),
        question()[:-1],
        [*question(), b"more"],
        [b"2.0", *question()[1:]],
        [],
    ],
)
def test_nobody_else_may(asked: list[bytes]) -> None:
    answer = verdict(asked, {KEY}.__contains__)
    assert answer[2] == b"400"
    assert answer[3], "why is said"
    assert not answer[4], "and no name given"


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_a_question_of_any_form_is_answered(asked: list[bytes]) -> None:
    assert verdict(asked, lambda _: True)[2] in {b"200", b"400"}


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_any_bytes_of_the_right_number_are_a_key(key: bytes) -> None:
    text = z85.encode(key).decode()
    assert is_key(text)
    assert listed(f"# these:\n\n{text} and a remark") == {text}


@given(st.text(max_size=50))
def test_a_text_of_any_form_is_looked_at(text: str) -> None:
    assert not is_key(text) or len(z85.decode(text)) == KEY_BYTES


def test_a_line_without_a_key_is_named() -> None:
    with pytest.raises(CouldNotStart, match="line 3 "):
        _ = listed(f"# keys\n{KEY} ada\nbob\n")
    with pytest.raises(CouldNotStart, match="line 1 "):
        _ = listed("~" * 40)
    with pytest.raises(CouldNotStart, match="line 1 "):
        _ = listed("%" * 40)


def test_a_pair_of_keys_belongs_together() -> None:
    assert zmq.curve_public(SECRET.encode()).decode() == KEY
