"""Which large amounts there are, where, and in what words they are told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .amount import Amount, told_by
from .backlog import away
from .letters import STORES, listed
from .places import Place
from .troubles import WITH_BROKERS

AWAY_SECONDS = 300.0
AWAY_EVENTS = 100_000
MESSAGES = 10_000
LETTERS = 100_000
REPLAYED = 1_000
POISONED = "sqlite, in one process"

_REPLAY = "tests/system/test_letters_kill.py::test_a_replay_that_is_killed_goes_on_and_each_letter_takes_effect_once"


class Words(NamedTuple):
    """What is said of one, with its figures in it.

    Attributes:
        done: What was done.
        came: What has come of it.
    """

    done: str
    came: str


WORDS: Mapping[str, Words] = MappingProxyType(
    {
        "away": Words(
            "the broker is away for {seconds:,.0f} s, and {events:,.0f} events are told meanwhile",
            "all are told without it, and each is handled once; what had waited went out at {per_second:,.0f} a second",
        ),
        "poison": Words(
            "{poison:,.0f} of {messages:,.0f} messages cannot be handled",
            "{handled:,.0f} are handled at once; {parked:,.0f} are parked, in the order of their keys, and handled "
            "once each when mended",
        ),
        "replay": Words(
            "a replay of {letters:,.0f} dead letters is killed {kills:,.0f} times with `kill -9`",
            "it goes on each time; {once:,.0f} take effect once, in the order of their keys",
        ),
        "letters": Words(
            "{letters:,.0f} dead letters are listed, {a_page:,.0f} to a page",
            "a page takes {median_ms:,.1f} ms at the median, and {worst_ms:,.1f} ms at worst",
        ),
    }
)


def amounts() -> Mapping[tuple[str, str], Callable[[Path], Amount]]:
    """What shows each of them, given a folder, by its name and where."""
    found: dict[tuple[str, str], Callable[[Path], Amount]] = {
        ("away", place.title): partial(_away, place) for place in WITH_BROKERS
    }
    found["poison", POISONED] = partial(told_by, "tests/system/test_poison.py", HANSE_MESSAGES=MESSAGES)
    found |= {("replay", one): partial(told_by, f"{_REPLAY}[{one}]", HANSE_LETTERS=REPLAYED) for one in STORES}
    return found | {("letters", one): partial(_listed, one) for one in STORES}


def _away(place: Place, folder: Path) -> Amount:
    return asyncio.run(away(place, folder, AWAY_SECONDS, AWAY_EVENTS))


def _listed(store: str, folder: Path) -> Amount:
    return asyncio.run(listed(store, folder, LETTERS))
