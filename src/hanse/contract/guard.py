"""Who may call an operation: small pure values, combined with `&` and `|`.

A guard holds wherever its operation runs, not only at the gateway: a call from another service carries the identity of
whoever asked it.
"""

from __future__ import annotations

from collections.abc import Callable

from hanse.kernel.message import Identity


class Guard:
    """A rule about identities, with the words to explain a refusal.

    Example:
        >>> guard = scope("orders:write") | scope("admin")
        >>> guard.allows(Identity(subject="ada", scopes=frozenset({"admin"})))
        True
        >>> guard.wants
        'the scope orders:write or the scope admin'
    """

    __slots__ = ("_test", "wants")

    def __init__(self, test: Callable[[Identity], bool], wants: str) -> None:
        """Make a guard of your own.

        Args:
            test: Whether the identity may call.
            wants: What is needed, to end the sentence "this needs ...".
        """
        self._test = test
        self.wants: str = wants

    def allows(self, identity: Identity) -> bool:
        """Whether the identity may call."""
        return self._test(identity)

    def __and__(self, other: Guard) -> Guard:
        return Guard(lambda who: self.allows(who) and other.allows(who), f"{self.wants} and {other.wants}")

    def __or__(self, other: Guard) -> Guard:
        return Guard(lambda who: self.allows(who) or other.allows(who), f"{self.wants} or {other.wants}")


def scope(name: str) -> Guard:
    """Whoever has this scope."""
    return Guard(lambda who: name in who.scopes, f"the scope {name}")


authenticated: Guard = Guard(lambda who: not who.anonymous, "a known caller")
"""Anybody who has said, and proven, who they are."""

anyone: Guard = Guard(lambda who: True, "nothing")  # noqa: ARG005 - a guard takes an identity
"""Everybody, the anonymous too."""
