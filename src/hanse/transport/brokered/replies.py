"""Answers on their way to who asked: the small ones that one turn of the loop has for one node are one message.

That is where calls over a broker are cheap: one message costs three processes as much as one call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import final

from hanse.kernel.message import Message
from hanse.transport.base import Answer, body_of
from hanse.transport.brokered.frames import REPLIES, REPLY, SMALL_BYTES, TOGETHER_MAX, TOGETHER_TOKEN, Reply, encode
from hanse.transport.brokered.post import Post, Subjects
from hanse.transport.lot import Worker

_log = logging.getLogger("hanse.transport.brokered")

GATHERED_MAX = 16 * TOGETHER_MAX
"""Answers that wait for the end of a turn; with one more, all are told at once."""

DROPPED = "an answer was dropped: the broker is away for too long, or too slow"


@final
class Replies:
    """What workers have handled; and the small answers of it, until the turn in which they were made is over.

    Attributes:
        working: See `Asker.working`; keys are the subjects at which messages are answered.
    """

    def __init__(
        self,
        post: Post,
        names: Subjects,
        over: Callable[[bytes], object],
        other: Callable[[bytes, Message, Answer | None], None],
        alone: Callable[[bytes, bytes], None],
    ) -> None:
        """Have nothing to tell yet.

        Args:
            post: What is told goes through it.
            names: Which subjects are those of nodes.
            over: Given where something is answered, as that is told now.
            other: Tells any other answer: where, what was asked, and what that came to.
            alone: Tells the body of an answer by itself, later or not at all: where, and that.
        """
        self.working: dict[Worker, None] = {}
        self._post = post
        self._names = names
        self._over = over
        self._other = other
        self._alone = alone
        self._replies: list[Reply] = []

    def handled(self, key: bytes, message: Message, answer: Answer | None, /) -> None:
        """See `Asker.handled`."""
        body = body_of(answer, message)
        if body is None:
            _ = self._over(key)
            self._other(key, message, answer)
        else:
            self.told(key, body)

    def told(self, key: bytes, body: bytes, /) -> None:
        """See `Asker.told`."""
        if len(body) > SMALL_BYTES:
            _ = self._over(key)
            self._alone(key, body)
            return
        replies = self._replies
        if not replies:
            _ = asyncio.get_running_loop().call_soon(self.tell)
        replies.append((key, body))
        if len(replies) > GATHERED_MAX:
            self.tell()

    def tell(self) -> None:
        """Tell all that is to be told."""
        if not self._replies:
            return
        replies, self._replies = self._replies, []
        together: dict[bytes, list[Reply]] = {}
        over = self._over
        for subject, body in replies:
            _ = over(subject)
            node, _, token = subject.rpartition(b".")
            if (of_node := together.get(node)) is None:
                of_node = together[node] = []
            of_node.append((token, body))
        for node, of_node in together.items():
            self._tell_node(node + b".", of_node)
        self._post.push()

    def _tell_node(self, inbox: bytes, replies: list[Reply]) -> None:
        is_nodes = self._names.asker(inbox + TOGETHER_TOKEN)[1] == TOGETHER_TOKEN
        step = TOGETHER_MAX if is_nodes else 1  # others understand single answers alone
        for first in range(0, len(replies), step):
            self._tell_some(inbox, replies[first : first + step])

    def _tell_some(self, inbox: bytes, replies: list[Reply]) -> None:
        (token, payload), lead = replies[0], REPLY
        if len(replies) > 1:
            token, payload, lead = TOGETHER_TOKEN, encode(replies), REPLIES
        if len(payload) > self._post.body_bytes_max or not self._post.has_room(payload):
            for each, body in replies:
                self._alone(inbox + each, body)
        elif not self._post.publish(inbox + token, b"", payload, lead):
            _log.warning(DROPPED)
