"""`/docs`: one page, served by us and asking nobody else, that shows what is exposed, calls it and follows it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from hanse.gateway.asgi import Header, Request, Response

HTML = "text/html; charset=utf-8"
_PLACES = {"style": "/*STYLE*/", "script": "/*SCRIPT*/"}


async def docs_page(request: Request) -> Response:
    """The page; the browser keeps it until it is another one."""
    page, headers = _page()
    tag = dict(headers)[b"etag"].decode()
    if request.header(b"if-none-match") == tag:
        return Response(304, b"", headers, "")
    return Response(200, page, headers, HTML)


@cache
def _page() -> tuple[bytes, tuple[Header, ...]]:
    """The page, and headers that let the browser run what we wrote and nothing else."""
    folder = files("hanse.gateway") / "page"
    page = (folder / "docs.html").read_text("utf-8")
    parts = {"style": (folder / "docs.css").read_text("utf-8"), "script": (folder / "docs.js").read_text("utf-8")}
    for name, text in parts.items():
        page = page.replace(_PLACES[name], text)
    body = page.encode()
    policy = (
        f"default-src 'none'; script-src '{_hash(parts['script'])}'; style-src '{_hash(parts['style'])}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return body, (
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-cache"),
        (b"etag", f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode()),
        (b"referrer-policy", b"no-referrer"),
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
