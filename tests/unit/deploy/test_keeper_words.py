from __future__ import annotations

import pytest

from hanse.deploy.keeper_words import WORD_BYTES_MAX, Gone, Signalled, Words, encoded, news_of, order_of
from hanse.kernel.faults import Malformed


def test_what_is_no_word_is_refused() -> None:
    with pytest.raises(Malformed, match="expected an order to the keeper"):
        order_of(b'{"type":"gone"}')
    with pytest.raises(Malformed, match="expected news of the keeper"):
        news_of(b"\xff")


def test_a_word_without_end_is_refused() -> None:
    words = Words()
    words.feed(b"x" * WORD_BYTES_MAX)
    with pytest.raises(Malformed, match="longer"):
        words.feed(b"x")


def test_words_come_back_as_they_were_said() -> None:
    said = [Gone("web-1.1", -9, ("last",)), Gone("web-1.2", None, why="none")]
    data = b"".join(map(encoded, said))
    words = Words()
    lines = [line for at in range(len(data)) for line in words.feed(data[at : at + 1])]
    assert [news_of(line) for line in lines] == said
    assert order_of(encoded(Signalled("web-1.1", 15)).strip()) == Signalled("web-1.1", 15)
