"""A route: how the calls of one service are shared among its releases, as data that settings or a row can hold."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_NAMED = "(subject|tenant|(tag|header)[.].+)"
_WORDS = {"expected": "subject, tenant, tag.NAME or header.NAME"}

Weight = Annotated[int, Meta(ge=0, extra={"expected": "a whole number from 0, as a weight"})]
Carried = Annotated[str, Meta(pattern=f"^{_NAMED}$", extra=_WORDS)]
"""What a call carries, by name: `subject` or `tenant` of who asks, `tag.NAME` of the story, or `header.NAME`."""

Key = Annotated[str, Meta(pattern=f"^{_NAMED}?$", extra=_WORDS)]
"""The same, or nothing."""


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that has to be so of a call.

    Attributes:
        of: What is looked at: `subject` or `tenant` of who asks, `tag.NAME` of the story, or `header.NAME`.
        value: What it has to be.
    """

    of: Carried
    value: str


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How some calls are shared.

    Attributes:
        releases: Weights by release, such as `{"1.4": 95, "1.5": 5}`.
        when: All have to hold for the rule to be the one; without any it is for all calls.
    """

    releases: dict[str, Weight]
    when: tuple[Condition, ...] = ()


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the calls of one service are shared among its releases, and their instances.

    Attributes:
        rules: The first whose conditions hold decides; `when` lists them, each with `of` and `value`.
        sticks_to: What stays with one release: `subject`, `tenant`, `tag.NAME` or `header.NAME`; by default the story.
        belongs_to: What belongs to one instance, named likewise, such as `tenant` for one that keeps things of tenants
            in its memory; by default nothing does. Brokers choose instances by themselves, and do not look at it.
        releases: Weights by release for calls that no rule is for; where there are none, all releases share by their
            instances' weights.
        zones: Whether instances of the own zone are asked first (`near`), or those of all alike (`any`); where a broker
            chooses, it is `any`.
        source: Where the route was set; filled in by whoever reads it.
    """

    rules: tuple[Rule, ...] = ()
    sticks_to: Key = ""
    belongs_to: Key = ""
    releases: dict[str, Weight] = {}
    zones: Literal["near", "any"] = "near"
    source: str = ""
