"""Folders of files: which file a path means is decided here; Starlette sends it, and knows ranges."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import cast

import msgspec

from hanse.gateway.asgi import Application, Header, Request, Response, segments_of
from hanse.gateway.problem import MethodNotAllowed, NoRoute

IMMUTABLE = "public, max-age=31536000, immutable"
"""For names with a hash in them: another content has another name."""

REVALIDATE = "no-cache"
"""For all others: kept, and asked about before each use."""

ENCODINGS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""What may stand compressed beside a file, the best first."""

# What bundlers write: hexadecimal digits, or eight signs of mixed kinds. A name that only looks like one would be kept
# for a year, so dates, and the pictures of cameras, must not pass.
_HEX = re.compile(r"[.-](?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8,64}(\.\w+)+$")
_MIXED = re.compile(
    r"[.-](?=[\w-]{0,7}[A-Z])(?=[\w-]{0,7}\d)[\w-]{8}(\.min)?\.(js|mjs|css|wasm|woff2?)(\.map)?$", re.ASCII
)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".map": "application/json",
}


class Folder(msgspec.Struct, frozen=True):
    """Files that are served as they are.

    Attributes:
        path: Where, without a slash at its end.
        directory: The folder.
        spa: Whether its `index.html` answers for pages that are not there.
    """

    path: str
    directory: Path
    spa: bool = False


class Found(msgspec.Struct, frozen=True):
    """A file to send.

    Attributes:
        file: Where it is.
        state: Its size and age.
        name: The name that was asked for, which says what type it is.
        encoding: How it is compressed; empty for not at all.
    """

    file: str
    state: os.stat_result
    name: str
    encoding: str = ""

    @property
    def etag(self) -> str:
        """Changes with the file, and differs by encoding."""
        told = f"{self.state.st_mtime_ns}-{self.state.st_size}-{self.encoding}"
        return f'"{hashlib.blake2b(told.encode(), digest_size=12).hexdigest()}"'


class Files:
    """The handler of some folders; the longest path that fits wins.

    Args of the constructor:
        folders: The folders.
        reserved: First parts of paths below which no page of a single-page application can be.
    """

    def __init__(self, folders: Iterable[Folder], reserved: frozenset[str]) -> None:
        self._folders = sorted(folders, key=lambda folder: -len(folder.path))
        self._reserved = reserved

    async def __call__(self, request: Request) -> Response | None:
        """Send what a path means.

        Raises:
            NoRoute: There is no such file.
            MethodNotAllowed: Files are only read.
        """
        parts = segments_of(request.path)
        for folder in self._folders:
            prefix = segments_of(folder.path) if folder.path else ()
            if parts[: len(prefix)] == prefix and (len(parts) > len(prefix) or folder.path):
                request.template = f"{folder.path}/*"
                return await self._serve(request, folder, parts[len(prefix) :])
        raise NoRoute(request.path[:200])

    async def _serve(self, request: Request, folder: Folder, parts: Sequence[str]) -> Response | None:
        accepted = encodings_in(request.header(b"accept-encoding"))
        found = await asyncio.to_thread(find, folder.directory, parts, accepted)
        if found is None and folder.spa and self._is_page(request, parts):
            found = await asyncio.to_thread(find, folder.directory, ("index.html",), accepted)
        if found is None:
            raise NoRoute(request.path[:200])
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(request.method, "GET, HEAD")
        if isinstance(found, str):
            return _redirect(request)
        headers = _headers(found)
        if _is_known(request, found):
            return Response(304, b"", headers, "")
        await _send(request, found, headers)
        return None

    def _is_page(self, request: Request, parts: Sequence[str]) -> bool:
        """Whether a path that is no file is one of an application in the browser."""
        missing_file = "." in parts[-1] if parts else False
        apart = segments_of(request.path)[0] in self._reserved
        return not missing_file and not apart and request.accepts("text/html") and is_safe(parts)


def is_safe(parts: Sequence[str]) -> bool:
    """Whether each part of a path is a plain name, and none is hidden; the last may be empty.

    Example:
        >>> [is_safe(parts) for parts in (("a", "b.js"), ("..", "b"), (".env",), ("a/b",), (".well-known", "x"))]
        [True, False, False, False, True]
    """
    for index, part in enumerate(parts):
        hidden = part.startswith(".") and not (index == 0 and part == ".well-known")
        empty = not part and index < len(parts) - 1
        if hidden or empty or {"/", "\\", "\0", ":"} & set(part):
            return False
    return True


def encodings_in(accept: str) -> list[str]:
    """The encodings that a client takes, of those that may stand beside a file; the best first.

    Example:
        >>> encodings_in("gzip, br;q=0, *;q=0.1")
        ['zstd', 'gzip']
    """
    wanted: dict[str, bool] = {}
    for item in accept.lower().split(","):
        name, _, parameters = item.partition(";")
        weight = parameters.partition("q=")[2].strip()
        wanted[name.strip()] = re.fullmatch(r"0(\.0*)?", weight) is None
    return [name for name in ENCODINGS if wanted.get(name, wanted.get("*", False))]


def cache_control(name: str) -> str:
    """How long a file may be kept, by its name.

    Example:
        >>> cache_control("app-3f9c1b2e.js"), cache_control("index.html")
        ('public, max-age=31536000, immutable', 'no-cache')
    """
    return IMMUTABLE if _HEX.search(name) or _MIXED.search(name) else REVALIDATE


def find(directory: Path, parts: Sequence[str], accepted: Sequence[str]) -> Found | str | None:
    """The file that a path means; "/" where it is a folder's, which has to end in a slash. Reads the disk.

    Args:
        directory: The folder that is served.
        parts: The path below it, decoded.
        accepted: Encodings that the client takes, the best first.
    """
    root = os.path.realpath(directory)
    path = _inside(root, os.path.join(root, *parts)) if is_safe(parts) else None  # noqa: PTH118 - it goes by text here
    state = None if path is None else _state(path)
    if path is None or state is None:
        return None
    if not stat.S_ISDIR(state.st_mode):
        return _file(root, path, parts[-1], accepted) if parts[-1] else None
    index = _file(root, os.path.join(path, "index.html"), "index.html", accepted)  # noqa: PTH118 - see above
    in_order = bool(parts) and not parts[-1]
    return index if index is None or in_order else "/"


def _file(root: str, path: str, name: str, accepted: Sequence[str]) -> Found | None:
    """A regular file, or the best of what stands compressed beside it."""
    plain = _regular(root, path)
    if plain is None:
        return None
    for encoding in accepted:
        if (smaller := _regular(root, path + ENCODINGS[encoding])) is not None:
            return Found(*smaller, name, encoding)
    return Found(*plain, name)


def _regular(root: str, path: str) -> tuple[str, os.stat_result] | None:
    real = _inside(root, path)
    state = None if real is None else _state(real)
    return (real, state) if real is not None and state is not None and stat.S_ISREG(state.st_mode) else None


def _inside(root: str, path: str) -> str | None:
    """Where a path really is, if that is in the folder, and not hidden there."""
    real = os.path.realpath(path)
    if real == root:
        return real
    above = root.rstrip(os.sep) + os.sep
    if not real.startswith(above):
        return None
    return real if is_safe(Path(real.removeprefix(above)).parts) else None


def _state(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - see above
    except (OSError, ValueError):
        return None


def _headers(found: Found) -> tuple[Header, ...]:
    told: Mapping[str, str] = {
        "etag": found.etag,
        "cache-control": cache_control(found.name),
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
        **({"content-encoding": found.encoding} if found.encoding else {}),
    }
    return tuple((name.encode(), value.encode()) for name, value in told.items())


def _is_known(request: Request, found: Found) -> bool:
    known = request.header(b"if-none-match")
    if known:
        return known.strip() == "*" or found.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
    since = request.header(b"if-modified-since")
    try:
        return bool(since) and int(found.state.st_mtime) <= parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError):
        return False


def _redirect(request: Request) -> Response:
    query = f"?{request.query}" if request.query else ""
    return Response(308, b"", ((b"location", f"{request.root}{request.path}/{query}".encode("latin-1")),), "")


def type_of(name: str) -> str:
    """The media type of a file, by its name.

    Example:
        >>> type_of("app.js"), type_of("data")
        ('text/javascript', 'application/octet-stream')
    """
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name, and no path
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


async def _send(request: Request, found: Found, headers: tuple[Header, ...]) -> None:
    from starlette.responses import FileResponse

    response = FileResponse(
        found.file,
        headers={name.decode(): value.decode() for name, value in headers},
        stat_result=found.state,
        media_type=type_of(found.name),
    )
    await cast("Application", response)(request.scope, request.receive, request.send)
