"""What a system prints, and whoever does not read it."""

from __future__ import annotations

import os
import threading

from hanse.deploy.screen import PIECES_MAX, Screen


def test_who_is_not_read_does_not_wait_and_says_what_is_missing() -> None:
    reading, writing = os.pipe()
    drain = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reading, 1 << 16), b"")])
    try:
        screen = Screen(lambda data: os.write(writing, data))
        for number in range(20 * PIECES_MAX):
            screen.show(f"line {number} " + "x" * 200)
        read = b""
        while b"are left out, as nobody read them" not in read:
            read += os.read(reading, 1 << 16)
            screen.show("more")
        assert read.startswith(b"line 0 x")
        drain.start()
        screen.close(10.0)
    finally:
        os.close(writing)
        if drain.is_alive():
            drain.join()
        os.close(reading)


def test_who_has_hung_up_harms_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    screen = Screen(lambda data: os.write(writing, data))
    screen.show("to nobody")
    screen.close(10.0)
    os.close(writing)
