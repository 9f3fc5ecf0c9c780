"""Two members find out what the one knows and the other does not, in few datagrams and without remembering anything.

The one sends the prints of sixteen parts of the ring; for each that differs, the other answers with prints of smaller
parts, until few stand in one: then with a page of records. Whoever gets a page sends back what it lacks. A newcomer
gets everybody so, page after page, each asked for when the last has come. No question is asked again: whatever is lost
still differs when the two, or others, compare the next time.
"""

from __future__ import annotations

from collections.abc import Sequence

from hanse.transport.members.datagram import Act, Compare, Page, Pull, Span, encode
from hanse.transport.members.outbox import Outbox
from hanse.transport.members.record import Record
from hanse.transport.members.roster import WHOLE, Roster

PARTS = 16
"""Parts that a part of the ring is compared in."""

FEW = 12
"""Members that fit into one page, as a rule: fewer are told, more are compared."""

SPANS_MAX = 28
"""Parts of the ring in one datagram, which take up to 31 bytes each."""

ANSWERS_MAX = 16
"""Datagrams that one comparison is answered with; what is left differs the next time, too."""

_LIST_BYTES = 2  # a list of more than fifteen is marked by more


class Comparing:
    """What one member says when it compares."""

    __slots__ = ("_outbox", "_roster")

    def __init__(self, roster: Roster, outbox: Outbox) -> None:
        self._roster = roster
        self._outbox = outbox

    def begin(self, to: str) -> None:
        """Compare all."""
        self._outbox.send(to, Compare(self._roster.split(WHOLE, PARTS)), gossip=False)

    def answer(self, spans: Sequence[Span], to: str) -> None:
        """Somebody compares."""
        closer: list[Span] = []
        pulled: list[Span] = []
        pages: list[Page] = []
        for theirs in spans:
            mine = self._roster.span(theirs.start, theirs.end) if theirs.start < theirs.end else theirs
            if mine.print == theirs.print and mine.count == theirs.count:
                continue
            if mine.count <= FEW < theirs.count:
                pulled.append(mine)
            elif mine.count > FEW and theirs.count > FEW and theirs.end - theirs.start > PARTS:
                closer += self._roster.split(mine, PARTS)
            else:
                pages.append(self._page(theirs))
        compared = [Compare(tuple(closer[at : at + SPANS_MAX])) for at in range(0, len(closer), SPANS_MAX)]
        pulls = [Pull(tuple(pulled))] if pulled else []
        acts: list[Act] = [*pulls, *compared, *pages]
        for act in acts[:ANSWERS_MAX]:
            self._outbox.send(to, act, gossip=False)

    def serve(self, spans: Sequence[Span], to: str) -> None:
        """Somebody wants pages."""
        for span in spans[:ANSWERS_MAX]:
            self._outbox.send(to, self._page(span), gossip=False)

    def turn(self, page: Page, to: str) -> None:
        """A page has come, and was read: tell what it lacks, and ask for the next."""
        there = {record.instance: record.version for record in page.records}
        lacking = [
            member.record
            for member in self._roster.within(page.start, page.end)
            if there.get(member.record.instance, 0) < member.record.version
        ]
        if lacking:
            # They stand for no part of the ring: nothing is to be made of whom they leave out.
            self._outbox.send(to, Page(0, 0, 0, self._fitting(lacking)), gossip=False)
        if page.start < page.end < page.until:
            self._outbox.send(to, Pull((Span(page.end, page.until),)), gossip=False)

    def _page(self, span: Span) -> Page:
        """The records of a part of the ring, as many as fit."""
        members = self._roster.within(span.start, span.end)
        records = self._fitting([member.record for member in members])
        end = members[len(records)].place if len(records) < len(members) else span.end
        return Page(span.start, end, span.end, records)

    def _fitting(self, records: Sequence[Record]) -> tuple[Record, ...]:
        room = self._outbox.room(encode(Page(WHOLE.end, WHOLE.end, WHOLE.end, ()))) - _LIST_BYTES
        taken = 0
        for record in records:
            room -= len(encode(record))
            if room < 0:
                break
            taken += 1
        return tuple(records[:taken])
