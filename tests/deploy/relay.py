"""A supervisor that decides nothing: it carries words between the keeper and whoever connects to the control socket."""

from __future__ import annotations

import os
import selectors
import socket

from hanse.deploy.keeper import environment_of


def main() -> None:
    fds = environment_of(os.environ)
    assert fds is not None
    keeper, control = (socket.socket(fileno=fd) for fd in fds)
    asker, _ = control.accept()
    with selectors.DefaultSelector() as selector:
        _ = selector.register(keeper, selectors.EVENT_READ, asker)
        _ = selector.register(asker, selectors.EVENT_READ, keeper)
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65_536)
                if not data:
                    return
                key.data.sendall(data)


if __name__ == "__main__":
    main()
