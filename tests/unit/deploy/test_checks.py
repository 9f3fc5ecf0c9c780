"""Checks of releases, each done once, by what code in folders tells."""

from __future__ import annotations

import asyncio

from hanse.control.promises import Promised, Promises
from hanse.control.rollout import Came
from hanse.deploy.checks import Checked, Checks
from hanse.kernel.faults import CouldNotStart

TILL = Promised(offers=({"name": "till", "operations": {}},))
CAFE = Promised(expects=TILL.offers)
WHAT = Checked("check-1", ("till", "2", "/new"), ("till", "base", ""), (("cafe", "base", ""),))


async def come(checks: Checks, what: Checked) -> tuple[Came, str]:
    _ = checks.came(what)
    if begun := [task for task in asyncio.all_tasks() if task.get_name() == what.name]:
        _ = await asyncio.wait(begun, timeout=60.0)
    return checks.came(what)


async def test_code_of_each_folder_is_asked_once_and_compared() -> None:
    asked: list[str] = []

    async def tell(source: str) -> Promises:
        asked.append(source)
        return {"till": Promised(), "cafe": CAFE} if source else {"till": TILL, "cafe": CAFE}

    async with Checks(tell) as checks:
        assert checks.came(WHAT) == ("waiting", "")
        assert await come(checks, WHAT) == ("failed", "cafe (base) calls what is gone: till")
        assert await come(checks, WHAT) == ("failed", "cafe (base) calls what is gone: till")
    assert asked == ["", "/new"]


async def test_what_cannot_be_told_is_no_fit() -> None:
    async def tell(source: str) -> Promises:
        if source:
            raise CouldNotStart("cafe.py cannot be imported")
        return {"till": TILL, "cafe": CAFE}

    async with Checks(tell) as checks:
        came, why = await come(checks, WHAT)
    assert came == "failed"
    assert why.endswith("what the code in /new promises is not known: cafe.py cannot be imported")


async def test_the_end_waits_for_no_check() -> None:
    async def tell(_source: str) -> Promises:
        _ = await asyncio.Event().wait()
        return {}

    async with asyncio.timeout(60.0), Checks(tell) as checks:
        assert checks.came(WHAT) == ("waiting", "")
