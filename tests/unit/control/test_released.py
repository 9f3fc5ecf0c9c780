"""Services of which two releases run beside each other."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hanse.control.desired import Command, Container, Desired
from hanse.control.edge_table import WHOLE
from hanse.control.ground import Wanted
from hanse.control.released import BASE, Overlay, mirror_of, overlaid, overlay_for, split_of

WEB = Desired("web", Command(("serve",), directory="/app"), instances=3)
MAIL = Desired("mail", Command(("mail",)), needs=("web",))
WANTED = Wanted(
    rollout="r1",
    new_source="/releases/2",
    service="web",
    old="",
    new="2",
    old_count=3,
    new_count=1,
    share=500,
    mirrored=0,
    state="stepping",
    step=0,
)


def test_what_was_never_released_runs_as_the_settings_say() -> None:
    found = overlaid({"web": WEB, "mail": MAIL}, {})
    assert {key: one.instances for key, one in found.items()} == {("web", BASE): 3, ("mail", BASE): 1}


def test_both_releases_run_each_in_its_folder() -> None:
    overlay = overlay_for(WANTED)
    found = overlaid({"web": WEB}, {"web": overlay})
    assert found["web", BASE].command.directory == "/app"
    assert found["web", "2"].command.directory == "/releases/2"
    assert [one.instances for one in found.values()] == [3, 1]


def test_releases_of_images_run_from_them_in_the_folder_of_the_settings() -> None:
    boxed = Desired("web", Command((), directory="/app"), container=Container("web:1", handed=("KEY",)))
    found = overlaid({"web": boxed}, {"web": Overlay(new="2", new_directory="web@sha256:12", new_count=1)})
    assert [one.container for one in found.values()] == [boxed.container, Container("web@sha256:12", handed=("KEY",))]
    assert all(one.command == boxed.command for one in found.values())
    assert len({one.build for one in found.values()}) == 2


def test_one_that_was_a_folder_and_is_an_image_now_runs_as_the_settings_say() -> None:
    boxed = Desired("web", Command(()), container=Container("web:1"))
    found = overlaid({"web": boxed, "mail": MAIL}, {"web": Overlay("1", "/releases/1"), "mail": Overlay("2", "m:2")})
    assert found["web", "1"].container == boxed.container
    assert found["mail", "2"].command == MAIL.command


def test_after_a_rollout_there_is_one_release() -> None:
    found = overlaid({"web": WEB}, {"web": Overlay("2", "/releases/2")})
    assert list(found) == [("web", "2")]
    assert (found["web", "2"].instances, found["web", "2"].command.directory) == (3, "/releases/2")


@given(share=st.integers(0, WHOLE))
def test_shares_make_a_whole_and_the_growing_one_is_first(share: int) -> None:
    split = split_of(Overlay(new="2", share=share, salt="r1"))
    assert [one.points for one in split.shares] == [share, WHOLE - share]
    assert split.shares[0].release == "2"


def test_copies_go_to_the_new_release_alone() -> None:
    assert mirror_of(Overlay(mirrored=100)) is None
    found = mirror_of(Overlay(new="2", mirrored=100))
    assert found is not None
    assert (found.release, found.points) == ("2", 100)
