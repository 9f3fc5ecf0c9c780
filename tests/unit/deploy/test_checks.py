"""Checks of releases, each done once, by what code in folders tells."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from hanse.control.ground import Companion, Wanted
from hanse.control.promises import Promised, Promises
from hanse.control.rollout import Came
from hanse.deploy.checks import Checked, Checks, checks_of
from hanse.kernel.faults import CouldNotStart

TILL = Promised(offers=({"name": "till", "operations": {}},))
CAFE = Promised(expects=TILL.offers)
WHAT = Checked("check-1", ("till", "2", "/new"), ("till", "base", ""), (("cafe", "base", ""),))


RUNNING = {"cafe": (("cafe", "base", ""),), "till": (("till", "base", ""),), "bank": (("bank", "1", "/bank"),)}


def wanted(service: str, *among: Companion) -> Wanted:
    new = next((one.source for one in among if one.service == service), "/2")
    return Wanted(
        rollout="7",
        service=service,
        old="base",
        new="2",
        old_count=1,
        new_count=0,
        share=0,
        mirrored=0,
        state="checking",
        step=0,
        new_source=new,
        among=among,
    )


def test_who_comes_alone_is_checked_beside_all_that_run() -> None:
    assert list(checks_of(wanted("web"), RUNNING)) == [], "nobody knows what foreign services promise"
    (check,) = checks_of(wanted("till"), RUNNING)
    assert check == Checked(
        "check-7-till", ("till", "2", "/2"), RUNNING["till"][0], (*RUNNING["cafe"], *RUNNING["bank"])
    )


def test_a_set_is_checked_as_a_whole_before_its_first_begins() -> None:
    names = ("web", "till", "cafe")
    among = [Companion(service=name, release="2", source=f"/{name}") for name in names]
    till, cafe = checks_of(wanted("web", *among), RUNNING)
    assert (till.name, till.new, till.others) == (
        "check-7-till",
        ("till", "2", "/till"),
        (*RUNNING["cafe"], *RUNNING["bank"]),
    )
    assert (cafe.new, cafe.old) == (("cafe", "2", "/cafe"), RUNNING["cafe"][0])
    assert cafe.others == (("till", "2", "/till"), *RUNNING["bank"])
    assert cafe.warm == RUNNING["till"]
    assert list(checks_of(wanted("cafe", *among), RUNNING)) == [cafe], "the others have been checked"
    both = {**RUNNING, "till": (*RUNNING["till"], ("till", "2", "/till"))}
    assert list(checks_of(wanted("cafe", *among), both)) == [cafe], "the first of them is on its way"


async def test_what_a_release_that_is_only_kept_warm_offers_is_not_counted_on() -> None:
    async def tell(source: str) -> Promises:
        return {"till": Promised() if source else TILL, "cafe": CAFE}

    what = replace(WHAT, new=("cafe", "2", ""), old=("cafe", "base", ""), others=(("till", "2", "/new"),))
    async with Checks(tell) as checks:
        assert await come(checks, what) == ("failed", "it calls till, which nobody who runs offers: release that first")
        warm = replace(what, name="check-2", warm=(("till", "base", ""),))
        assert (await come(checks, warm))[0] == "failed"
        called = replace(what, name="check-3", others=(("till", "base", ""),))
        assert await come(checks, called) == ("passed", "")


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
