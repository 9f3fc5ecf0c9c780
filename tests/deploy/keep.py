"""A keeper with its guard, in the current folder, whose supervisor only relays."""

from __future__ import annotations

import sys
from pathlib import Path

from hanse.deploy.guard import guarded
from hanse.deploy.home import Home
from hanse.deploy.keeper import Keeper
from hanse.kernel.host import Host

if __name__ == "__main__":
    home = Home(Path.cwd())
    home.make()
    lock = home.lock()
    relay = [sys.executable, str(Path(__file__).with_name("relay.py"))]
    sys.exit(guarded(lambda: Keeper(relay, home.listen(), Host.system()).run()))
