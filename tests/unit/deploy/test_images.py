"""Images and containers, as far as that takes no container engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hanse.control.desired import Command, Container, Desired
from hanse.deploy.contained import CANNOT, Box, contained, creation, in_file
from hanse.deploy.images import Engine, image_source
from hanse.kernel.faults import CouldNotStart, Misconfigured

SECONDS = 60.0
BOX = Box("/nowhere/docker", "hanse-1-web-1.1", "web:2", "1", "web-1", 20001, arguments=("--read-only",))


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ("", "services.web.image: expected docker or podman on this machine, found neither command; install one"),
        ('container = "podman"', "services.web.container: expected podman on this machine, found no such command"),
    ],
)
def test_a_machine_without_a_container_engine_says_so_before_anything_runs(
    tmp_path: Path, container: str, told: str
) -> None:
    (tmp_path / "hanse.toml").write_text(f"[services.web]\nimage = 'web:1'\n{container}\n")
    done = subprocess.run(
        [sys.executable, "-m", "hanse", "up"],
        cwd=tmp_path,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, told in done.stderr) == (3, True), done.stderr


async def test_a_release_that_is_no_image_is_refused() -> None:
    web = Desired("web", Command(()), container=Container("web:1"))
    with pytest.raises(Misconfigured, match=r"services\.web: expected an image, such as registry/web:1\.4, got '-x'"):
        _ = await image_source("-x", web)


async def test_an_engine_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(CouldNotStart, match=r"docker cannot be run: .*No such file"):
        _ = await Engine(str(tmp_path / "docker")).held("web:1")


def test_what_stands_for_a_container_says_that_it_cannot(tmp_path: Path) -> None:
    words = contained((), BOX)
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, "hanse: /nowhere/docker cannot be run: " in done.stderr) == (CANNOT, True), done.stderr


def test_one_without_a_port_is_on_the_network_of_the_machine() -> None:
    words = creation(BOX, ("serve", "now"), "/dev/fd/3", ("KEY",))
    assert words[-7:] == ("KEY", "--network", "host", "--read-only", "web:2", "serve", "now")


def test_variables_that_no_file_can_hold_are_inherited() -> None:
    text, apart = in_file({"A": " x=#1 ", "LINES": "a\nb", "LONG": "x" * 70_000, "RETURNS": "a\rb"})
    assert (text, sorted(apart)) == ("A= x=#1 \n", ["LINES", "LONG", "RETURNS"])
