"""Folders of files, served by Starlette; whose errors become problems like all others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from hanse.gateway.asgi import Application, Receive, Scope, Send
from hanse.gateway.problem import MethodNotAllowed, NoRoute


class Files:
    """The ASGI application of some folders; the longest path that fits wins.

    Args of the constructor:
        folders: Each folder by the path that it is served at, without a slash at the end.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        from starlette.staticfiles import StaticFiles

        longest_first = sorted(folders.items(), key=lambda item: -len(item[0]))
        self._folders: list[tuple[str, Application]] = [
            (path, cast("Application", StaticFiles(directory=directory, html=True)))
            for path, directory in longest_first
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification.

        Raises:
            NoRoute: There is no such file.
            MethodNotAllowed: Files are only read.
        """
        from starlette.exceptions import HTTPException

        root = cast("str", scope.get("root_path", ""))
        path = cast("str", scope["path"]).removeprefix(root)
        for prefix, files in self._folders:
            if path == prefix or path.startswith(f"{prefix}/"):
                try:
                    return await files({**scope, "root_path": root + prefix}, receive, send)
                except HTTPException as error:
                    if error.status_code == MethodNotAllowed.status:
                        raise MethodNotAllowed(cast("str", scope["method"]), "GET, HEAD") from None
                    break
        raise NoRoute(path[:200])
