"""A certificate that is replaced while an edge shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.renewal import Chain, chain_of, follow
from hanse.kernel.faults import Misconfigured, Unavailable
from hanse.kernel.tasks import Tasks

PATIENCE = 60.0


def certified(place: Place) -> None:
    own = trustme.CA().issue_cert("localhost")
    own.private_key_pem.write_to_path(place.key)
    _ = Path(place.certificate).write_bytes(b"".join(part.bytes() for part in own.cert_chain_pems))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(folder=tmp_path, certificate=str(tmp_path / "own.pem"), key=str(tmp_path / "own.key"))
    certified(place)
    return place


def test_what_does_not_belong_together_is_told_with_both_files(place: Place) -> None:
    _ = Path(place.certificate).write_bytes(trustme.CA().cert_pem.bytes())
    with pytest.raises(Misconfigured, match=r"expected a certificate and its key .*own\.pem and .*own\.key"):
        _ = chain_of(place)


def test_one_file_may_hold_both(place: Place) -> None:
    chain = chain_of(place)
    _ = Path(place.certificate).write_bytes(chain.together)
    one = chain_of(Place(folder=place.folder, certificate=place.certificate))
    assert one.together == one.certificate == one.key == chain.together


async def test_what_an_engine_has_not_taken_is_told_to_it_again(place: Place) -> None:
    told = list[Chain]()
    taken = asyncio.Event()

    async def renew(chain: Chain) -> None:
        told.append(chain)
        if len(told) == 1:
            raise Unavailable("starting anew")
        taken.set()

    shown = chain_of(place)
    certified(place)
    async with asyncio.timeout(PATIENCE), Tasks(lambda _: None) as tasks:
        _ = tasks.start(follow(place, shown, renew))
        _ = await taken.wait()
    assert told == [chain_of(place)] * 2
