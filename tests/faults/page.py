"""The page of faults, from what is known by now, and what is missing of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hanse.kernel.fault_point import POINTS

from .amount import Amount
from .amounts import WORDS, amounts
from .full import FULL
from .peers import PEERS, TITLE, Compared
from .places import PLACES
from .results import Results
from .sweep import Survived
from .troubles import TROUBLES, Told

KILLS = 20
"""At each point, in all places together."""

PEER_KILLS = 20
"""At each of the moments that others have, too."""

INTRODUCTION = """<!-- Written by `make faults` from what it did; change tests/faults. -->

# Faults survived

The [simulation](simulation.md) breaks worlds that are not there.
Here processes, servers and disks are real, and so is what happens to them; `make faults` does it again.
"""
AT_POINTS = """
## Killed at {points} fault points

A [shop](../../tests/faults/shop.py) takes orders: a saga creates, charges and confirms each; events, a rule, \
a replica, dead letters that are mended and a schedule hang on it.
Its parts are processes of their own, killed with `kill -9` exactly where the code passes a point, and started again, \
while customers go on ordering.
In the end every order has to have each of its effects once: **{once} of {orders}**, after {kills} kills.

| where | kills | orders | once in effect |
|---|---|---|---|
"""
AROUND = """
## Broken around it

The same shop, whose parts live on, and what they rest on does not.
Whoever is not seen for longer than it has its duty is succeeded, and what it does then comes too late: \
it notices that by its own clock and gives up, or its store refuses the commit.

| what happens | where | times | orders | once in effect | too late, given up | too late, refused |
|---|---|---|---|---|---|---|
"""
IN_MASSES = """
## In large amounts

| what is done | where | what comes of it |
|---|---|---|
"""
BESIDE = """
## Others, killed at the same moments

One process commits orders, another one charges them; both are killed with an order committed, with a charge written, \
and with a charge committed that is not acknowledged.
The others run as their documents recommend ([scripts](../../bench/faults)); neither promises what it does not keep: \
the one tells its users to make tasks idempotent, the other that delivery is at least once.

| with | kills | orders | never charged | charged twice |
|---|---|---|---|---|
"""
POINTS_HEAD = """
| point | what is so there | kills |
|---|---|---|
"""


def titles() -> dict[tuple[str, str], str]:
    """What goes wrong around the shop, for people, by its name and the title of where."""
    found = {(one.name, place.title): one.title for one in TROUBLES.values() for place in one.places}
    return found | {(f"disk of {name}", full.place.title): full.title for name, full in FULL.items()}


def page(results: Results) -> str:
    """The whole page."""
    return "".join(
        (
            INTRODUCTION,
            *at_points(results.kills),
            *around(results.troubles),
            *in_masses(results.amounts),
            *beside(results.peers),
            *missed(results),
        )
    )


def differences(text: str, results: Results) -> Iterator[str]:
    """What the page has, and should not have."""
    if text != page(results):
        yield "is not what its results say"
    for point in sorted({point for one in results.kills for point in one.kills} - set(POINTS)):
        yield f"still has the point {point}"
    for place in sorted({one.place for one in results.kills} - {place.title for place in PLACES}):
        yield f"still has the place {place}"
    for name, place in sorted({(one.trouble, one.place) for one in results.troubles} - set(titles())):
        yield f"still has {name} in {place}"
    for name, place in sorted({(one.name, one.place) for one in results.amounts} - set(amounts())):
        yield f"still has {name} in {place}"


def lacks(results: Results) -> Iterator[str]:
    """What there is to be done, and is not in these results."""
    done = {one.place: one for one in results.kills}
    yield from (f"kills in: {place.title}" for place in PLACES if place.title not in done)
    times = [killed_at(results.kills, point) for point in POINTS]
    if min(times) < KILLS:
        yield f"{KILLS} kills at each point: there are {min(times)} to {max(times)}"
    known = {(one.trouble, one.place) for one in results.troubles}
    yield from (f"{title}, in: {one[1]}" for one, title in titles().items() if one not in known)
    told = {(one.name, one.place) for one in results.amounts}
    yield from (f"{name} in large amounts, in: {place}" for name, place in amounts() if (name, place) not in told)
    compared = {one.title: one.kills for one in results.peers}
    for title in (TITLE, *(peer.title for peer in PEERS)):
        if compared.get(title, 0) < PEER_KILLS:
            yield f"{PEER_KILLS} kills with others: {compared.get(title, 0)} of {title}"


def at_points(told: Sequence[Survived]) -> Iterator[str]:
    """Kills at fault points: by place, and by point."""
    yield AT_POINTS.format(
        points=len({point for one in told for point in one.kills}),
        once=sum(one.effects.once for one in told),
        orders=sum(one.effects.orders for one in told),
        kills=sum(sum(one.kills.values()) for one in told),
    )
    for one in told:
        yield f"| {one.place} | {sum(one.kills.values())} | {one.effects.orders} | {one.effects.once} |\n"
    yield POINTS_HEAD
    for point, meaning in POINTS.items():
        yield f"| `{point}` | {meaning} | {killed_at(told, point)} |\n"


def around(told: Sequence[Told]) -> Iterator[str]:
    """What else went wrong."""
    yield AROUND
    for one in told:
        title = titles().get((one.trouble, one.place), one.trouble)
        late = "" if one.late is None else f" {one.late}"
        counts = f"{one.times} | {one.effects.orders} | {one.effects.once} | {one.noticed}"
        yield f"| {title} | {one.place} | {counts} |{late} |\n"


def in_masses(told: Sequence[Amount]) -> Iterator[str]:
    """What came of large amounts."""
    if not told:
        return
    yield IN_MASSES
    for one in told:
        words = WORDS[one.name]
        yield f"| {words.done.format(**one.figures)} | {one.place} | {words.came.format(**one.figures)} |\n"


def beside(told: Sequence[Compared]) -> Iterator[str]:
    """What others make of kills."""
    if not told:
        return
    yield BESIDE
    for one in told:
        yield f"| {one.title} | {one.kills} | {one.orders} | {one.lost} | {one.twice} |\n"


def missed(results: Results) -> Iterator[str]:
    """What is not told of, as it has not been done yet."""
    found = list(lacks(results))
    if found:
        yield "\n## Not done yet\n\n"
        yield from (f"- {line}\n" for line in found)


def killed_at(told: Sequence[Survived], point: str) -> int:
    """How often, in all places."""
    return sum(one.kills.get(point, 0) for one in told)
