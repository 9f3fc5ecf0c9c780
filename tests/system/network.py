"""Hosts of a real network on one machine: network namespaces at one switch, which can be cut off from one another."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import pytest

LINUX = sys.platform == "linux" and os.geteuid() == 0 and bool(shutil.which("ip")) and bool(shutil.which("nft"))
NEEDED = pytest.mark.skipif(not LINUX, reason="network namespaces need Linux, root, ip (iproute2) and nft (nftables)")
CLONE_NEWNET = 0x40000000
HOSTS = ("h1", "h2", "h3")


def address_of(host: str) -> str:
    """Its address in the network."""
    return f"10.77.0.{HOSTS.index(host) + 1}"


def run(*command: str) -> None:
    _ = subprocess.run(command, check=True, capture_output=True, timeout=20)


def enter(space: int) -> None:
    """Go on in a network namespace, by its open file; Python has a word for it since 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """Three hosts at one switch."""

    def __init__(self) -> None:
        self.prefix = f"hanse{os.getpid()}"
        self.processes: list[subprocess.Popen[str]] = []

    def _space(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def build(self) -> None:
        for host in ("lan", *HOSTS):
            run("ip", "netns", "add", self._space(host))
            run("ip", "-n", self._space(host), "link", "set", "lo", "up")
        switch = self._space("lan")
        run("ip", "-n", switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        run("ip", "-n", switch, "link", "set", "br0", "up")
        for host in HOSTS:
            ours = ("ip", "-n", self._space(host))
            run(*ours, "link", "add", "eth0", "type", "veth", "peer", "name", f"p-{host}", "netns", switch)
            run("ip", "-n", switch, "link", "set", f"p-{host}", "master", "br0", "up")
            run(*ours, "addr", "add", f"{address_of(host)}/24", "broadcast", "10.77.0.255", "dev", "eth0")
            run(*ours, "link", "set", "eth0", "up")

    def within(self, host: str) -> list[str]:
        """What a command goes behind, to run on a host."""
        return ["ip", "netns", "exec", self._space(host)]

    @contextmanager
    def inside(self, host: str) -> Generator[None]:
        """Have this thread, and what it starts meanwhile, be on a host."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._space(host)}", os.O_RDONLY)
        try:
            enter(there)
            yield
        finally:
            enter(before)
            os.close(there)
            os.close(before)

    def _inside(self, host: str, *command: str) -> list[str]:
        return [*self.within(host), *command]

    def start(self, host: str, *command: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """Start a process on a host; what it prints is to be read."""
        process = subprocess.Popen(self._inside(host, *command), stdout=subprocess.PIPE, text=True, cwd=folder)
        self.processes.append(process)
        return process

    def cut(self, host: str) -> None:
        """Nothing reaches a host, and nothing leaves it."""
        rules = "add table inet cut"
        for hook in ("input", "output"):
            rules += f"; add chain inet cut {hook} {{ type filter hook {hook} priority 0; policy drop; }}"
        run(*self._inside(host, "nft", rules))

    def part(self, host: str, other: str, *, hook: str = "input") -> None:
        """Nothing of one host reaches another; the way back is free. As `output`, the other does not hear it."""
        rules = f"add table inet cut; add chain inet cut way {{ type filter hook {hook} priority 0; }}; "
        rules += f"add rule inet cut way ip {'saddr' if hook == 'input' else 'daddr'} {address_of(other)} drop"
        run(*self._inside(host, "nft", rules))

    def unplug(self, host: str) -> None:
        """Pull its cable."""
        run("ip", "-n", self._space("lan"), "link", "set", f"p-{host}", "down")

    def plug(self, host: str) -> None:
        """Put its cable back."""
        run("ip", "-n", self._space("lan"), "link", "set", f"p-{host}", "up")

    def mend(self, host: str) -> None:
        """Undo what was cut, parted or lost."""
        run(*self._inside(host, "nft", "delete table inet cut"))

    def lose(self, host: str, share: int) -> None:
        """So many of a hundred packets to a host are lost."""
        rules = "add table inet cut; add chain inet cut input { type filter hook input priority 0; }; "
        rules += f"add rule inet cut input numgen random mod 100 < {share} drop"
        run(*self._inside(host, "nft", rules))

    def close(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            _ = process.wait(20)
            cast("IO[str]", process.stdout).close()
        for host in ("lan", *HOSTS):
            _ = subprocess.run(["ip", "netns", "del", self._space(host)], check=False, capture_output=True, timeout=20)
