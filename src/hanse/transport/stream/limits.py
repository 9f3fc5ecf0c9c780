"""The limits of connections between nodes: each has a name, a reason, and says what happens when it is reached."""

from __future__ import annotations

import msgspec


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one node allows on its connections to others.

    Attributes:
        bytes_max: Bytes of one message's body; a larger one is refused with `TooLarge` before anything is sent.
        beat_seconds: Whoever has said nothing for so long says that it lives; at most a third of `silent_seconds`,
            and that for all nodes.
        silent_seconds: A connection on which nothing came for so long is lost; it is noticed within another half of
            `beat_seconds`.
        connect_seconds: Until a connection is made and greeted; then whatever waits for it is `NotSent`.
        idle_seconds: A connection over which nothing was asked for so long is closed, and made again when needed.
        connections_max: Connections at once; further ones are closed, and not made.
        calls_max: Asked of one other node at once; further requests are `Overloaded`.
        serving_max: Asked by one other node at once; further requests are refused with `Overloaded`.
        waiting_max: Requests that wait until a slow connection takes more; further ones are `Overloaded`.
        unsent_bytes: What waits to be sent on one connection until requests, answers and items wait for room.
        unsent_bytes_max: What may wait in all, answers to what has begun among it; then the connection is lost.
        redial_seconds: First pause after a connection could not be made; it doubles with each further failure.
        redial_seconds_max: Longest pause. Each is shortened by up to a half by chance, so that nodes do not come at
            once.
    """

    bytes_max: int = 1024 * 1024
    beat_seconds: float = 0.8
    silent_seconds: float = 2.4
    connect_seconds: float = 2.0
    idle_seconds: float = 300.0
    connections_max: int = 1_000
    calls_max: int = 100_000
    serving_max: int = 20_000
    waiting_max: int = 10_000
    unsent_bytes: int = 1024 * 1024
    unsent_bytes_max: int = 64 * 1024 * 1024
    redial_seconds: float = 0.05
    redial_seconds_max: float = 1.0


DEFAULT_LIMITS = StreamLimits()
