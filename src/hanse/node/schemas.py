"""What the stores of an app need before this version of it can run, and making it so."""

from __future__ import annotations

import msgspec

from hanse.kernel.faults import CouldNotStart
from hanse.kernel.settings import Settings
from hanse.kernel.settings_hide import hidden
from hanse.node.app import App, Part, parts_named
from hanse.node.hosted import schemas_of
from hanse.node.stores import open_store, stored_in, url_for
from hanse.store.base import CollectionSchema
from hanse.store.schema import Step, steps


class StorePlan(msgspec.Struct, frozen=True):
    """What one store needs.

    Attributes:
        service: Whose store.
        store: Its URL; passwords are hidden.
        steps: What opening it does; empty where it is as it should be.
        unseen: Whether it cannot be seen without being opened: then `steps` tells nothing.
    """

    service: str
    store: str
    steps: list[Step] = []
    unseen: bool = False

    @property
    def refused(self) -> list[Step]:
        """What cannot be done."""
        return [step for step in self.steps if step.change == "refuse"]


def plan_stores(app: App, settings: Settings) -> list[StorePlan]:
    """What the stores of the services that a node would host need; nothing is opened or written.

    Raises:
        Misconfigured: A setting cannot be used.
        CouldNotStart: A store keeps something that this version cannot serve at all.
        Unavailable: Another process keeps a store locked.
    """
    return [_plan(app, part, settings) for part in parts_named(app, settings.node.services)]


def _plan(app: App, part: Part, settings: Settings) -> StorePlan:
    url = url_for(settings, part.name)
    shown = str(hidden(url))
    stored = stored_in(url)
    if stored is None:
        return StorePlan(part.name, shown, unseen=True)
    return StorePlan(
        part.name, shown, [step for one in wanted_schemas(app, part) for step in steps(stored.get(one.name), one)]
    )


async def apply_stores(app: App, settings: Settings, plans: list[StorePlan]) -> None:
    """Make the stores as they are wanted, by opening each that needs something.

    Args:
        app: The app.
        settings: Where its stores are.
        plans: As `plan_stores` gave them.

    Raises:
        CouldNotStart: Something was refused; no store was touched then, unless it changed since the plan.
        Unavailable: Another process keeps a store locked.
    """
    if refused := [f"{step.collection}.{step.field}: {step.detail}" for plan in plans for step in plan.refused]:
        raise CouldNotStart(f"nothing was done: {'; '.join(refused)}")
    parts = {part.name: part for part in app.parts}
    for plan in plans:
        if plan.steps or plan.unseen:
            store = open_store(url_for(settings, plan.service))
            await store.open(wanted_schemas(app, parts[plan.service]))
            await store.close()


def wanted_schemas(app: App, part: Part) -> list[CollectionSchema]:
    """What the store of a service has to keep."""
    return schemas_of(part, (kind for kind, owner in app.owners.items() if owner is part))
