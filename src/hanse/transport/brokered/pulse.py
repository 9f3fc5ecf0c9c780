"""How nodes notice that one of them has gone, has forgotten a request, or has lost an answer.

Only those who have something under way with each other speak, once a second, so an idle fleet says nothing. To whom a
node speaks is asked for an echo by the broker itself: where the other has gone, it says so at once ("no responders").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.transport.brokered.asked import Asked
from hanse.transport.brokered.frames import CONTROL, Beat, Cancel, Control, Here, More, Serving, Who, control_in, encode
from hanse.transport.brokered.post import Post, Subjects
from hanse.transport.brokered.served import Served
from hanse.transport.discovery import Announcement

CONTROL_TOKEN = b"c"
"""Token of what nodes tell each other besides answers; tokens of answers are numbers."""

NOBODY = b"n"
"""Begins the token under which a broker says that a node is not there; the node's name follows."""

TELL_SECONDS = 0.05
"""After which whoever asked is told who works on it: most requests are answered by then."""

BEAT_SECONDS = 1.0
"""Between two beats."""

GRACE_SECONDS = 2.5
"""How long something has to be under way until whoever has it is taken at its word that it has not."""

LATE_SECONDS = 0.5
"""How late a beat may be until a node says nothing of others: held up itself, it has not read what they said."""

TOKENS_MAX = 10_000
"""Requests that one word of `Serving` lists."""


@final
class Pulse:
    """Tells others what is under way with them, and hears them.

    Attributes:
        asked: What this node waits for.
        served: What it works on.
        here: Told what other nodes say of themselves.
        who: Told the name of a node that asks what this one says.
        node: Name of this one.
        beats: Whether a beat is due.
    """

    def __init__(self, connection: Post, names: Subjects, host: Host, silence: float) -> None:
        """Be silent, as nothing is under way.

        Args:
            connection: What is said goes through it.
            names: Who is who.
            host: Its clock.
            silence: Seconds after which one that says nothing is taken for dead.
        """
        self.asked: Asked = Asked(host, silence)
        self.served: Served = Served(connection, names, self.begun, host.monotonic)
        self.here: Callable[[Announcement], None] = _nobody
        self.who: Callable[[bytes], None] = _nobody
        self.node: bytes = names.node
        self._connection = connection
        self._names = names
        self._host = host
        self._silence = silence
        self._heard: dict[bytes, float] = {}
        # Where what is worked on is answered, of which those that asked have been told.
        self._told: set[bytes] = set()
        self._due = 0.0
        self.beats: bool = False
        self._beat: asyncio.TimerHandle | None = None
        self._tell: asyncio.TimerHandle | None = None

    def begun(self) -> None:
        """Something came that is worked on."""
        self.served.watched = True
        if self._tell is None:
            self._tell = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell_all)
        self.asking()

    def asking(self) -> None:
        """Something is asked."""
        if self._beat is None:
            self.beats = True
            self._due = self._host.monotonic() + BEAT_SECONDS
            self._beat = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat_all)

    def close(self) -> None:
        """Be silent."""
        for timer in (self._beat, self._tell):
            if timer is not None:
                timer.cancel()
        self._beat = self._tell = None
        self.beats = self.served.watched = False
        self.asked.close()
        self._heard.clear()
        self._told.clear()

    def take(self, payload: bytes) -> None:
        """Another node said something. Raises `Malformed`."""
        said = control_in(payload)
        self._heard[said.node] = self._host.monotonic()
        match said:
            case Serving():
                self._unwanted(said.node, self.asked.told(said.node, said.tokens))
            case Cancel():
                self.served.cancel(said.node, said.tokens)
            case More():
                self.served.more(said.node, said.token, said.count)
            case Here():
                self.here(said.said)
            case Who():
                self.who(said.node)
            case Beat():
                self._unwanted(said.node, self.asked.told(said.node, said.serves))
                if said.whole:
                    before = self._host.monotonic() - GRACE_SECONDS
                    self.asked.reconcile(said.node, said.serves, before=before)

    def gone(self, peer: bytes, why: str) -> None:
        """A node is dead, as far as can be seen from here."""
        self._heard.pop(peer, None)
        self.asked.fail_all(Unavailable(f"whoever was asked {why}"), of=lambda waiting: waiting.peer == peer)
        self.served.drop(peer)

    def say(self, peer: bytes, what: Control, reply: bytes = b"") -> None:
        """Tell another node something."""
        subject = self._names.inbox(peer) + CONTROL_TOKEN
        _ = self._connection.publish(subject, reply, encode(what), CONTROL)

    def _unwanted(self, peer: bytes, tokens: list[bytes]) -> None:
        if tokens:
            self.say(peer, Cancel(self._names.node, tokens))

    def _tell_all(self) -> None:
        """Tell those that asked who works on it, where they have not been told."""
        self._tell = None
        self.served.watched = False
        untold: dict[bytes, list[bytes]] = {}
        for reply in self.served.works:
            if reply not in self._told:
                peer, token = self._names.asker(reply)
                if peer:
                    untold.setdefault(peer, []).append(token)
        self._told = set(self.served.works)
        for peer, tokens in untold.items():
            for first in range(0, len(tokens), TOKENS_MAX):
                self.say(peer, Serving(self._names.node, tokens[first : first + TOKENS_MAX]))

    def _beat_all(self) -> None:
        self._beat = None
        self.beats = self.served.watched = False
        now = self._host.monotonic()
        beats = self._beats()
        was_held_up = now - self._due > LATE_SECONDS
        self._heard = {peer: now if was_held_up else self._heard.get(peer, now) for peer in beats}
        if not was_held_up:
            self.asked.overdue()
        for peer, beat in beats.items():
            if now - self._heard[peer] > self._silence:
                self.gone(peer, f"has said nothing for {self._silence:g} s")
            else:
                self.say(peer, self._fitting(beat), self._names.here + NOBODY + peer)
        if self.served.works or not self.asked.is_empty:
            self.asking()

    def _beats(self) -> dict[bytes, Beat]:
        """What is to be said to whom."""
        beats: dict[bytes, Beat] = {}
        for _, waiting in self.asked.all():
            if waiting.peer and waiting.peer not in beats:
                beats[waiting.peer] = Beat(self._names.node, [])
        for reply in self.served.works:
            peer, token = self._names.asker(reply)
            if peer:
                beats.setdefault(peer, Beat(self._names.node, [])).serves.append(token)
        self._told = set(self.served.works)
        return beats

    def _fitting(self, beat: Beat) -> Beat:
        if len(encode(beat)) <= self._connection.body_bytes_max:
            return beat
        return Beat(beat.node, [], whole=False)


def _nobody(said: object) -> None:
    """Of others, as nobody has asked who is there."""
    del said
