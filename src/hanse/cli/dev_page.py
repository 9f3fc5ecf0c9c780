"""What a browser is shown while something is wrong: the error with its lines, on a page that goes when it is mended.

The page asks `STANDING` again and again; whoever serves the port (the app, or whoever stands in for it) answers with
its generation, which grows with each start.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping

from hanse.cli.excerpt import Excerpt, Spot, dedented, place_of
from hanse.cli.net import is_loopback

STANDING = "/.hanse/dev"
"""Where the page asks which generation serves."""

HTML = "text/html; charset=utf-8"

_SCRIPT = """
const began = document.documentElement.dataset.generation;
const again = async () => {
  try {
    const told = await (await fetch("/.hanse/dev", {cache: "no-store"})).json();
    if (String(told.generation) !== began) {
      if (document.documentElement.dataset.method === "GET") location.reload();
      else document.getElementById("next").textContent = "The code has changed: send it again.";
      return;
    }
  } catch (error) { /* it is starting anew */ }
  setTimeout(again, 300);
};
again();
"""
_STYLE = """
:root { color-scheme: light dark; --dim: #777; --bad: #c0262d; --here: #c0262d1f; --code: #8881 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff7b72 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { color: var(--bad); font-size: 1.2rem; white-space: pre-wrap; overflow-wrap: anywhere }
h2 { font-size: .9rem; font-weight: 600; margin: 1.5rem 0 .3rem }
pre { background: var(--code); border-radius: 6px; padding: .6rem 0; margin: 0; overflow-x: auto; line-height: 1.45 }
pre span { display: block; padding: 0 .8rem } pre b { background: var(--here); display: block; padding: 0 .8rem }
i { color: var(--dim); font-style: normal; user-select: none } p { color: var(--dim) }
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = f"default-src 'none'; connect-src 'self'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}"
"""The page's Content-Security-Policy: nothing runs but its own script."""


def page(found: Excerpt, title: str, generation: int, method: str = "GET") -> bytes:
    """The page about an error.

    Args:
        found: The error.
        title: What failed.
        generation: Which start of the app it belongs to.
        method: Of the request that failed; one that changes something is not sent again.
    """
    spots = "".join(_spot_html(spot) for spot in reversed(found.spots))
    text = (
        f'<!doctype html><html lang="en" data-generation="{generation}" data-method="{html.escape(method)}">'
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><main><p>{html.escape(title)}</p>"
        f'<h1 role="alert">{html.escape(found.text)}</h1>{spots}'
        f'<p id="next" role="status">This page loads again when the code has changed. Only this machine sees it.</p>'
        f"</main><script>{_SCRIPT}</script></html>"
    )
    return text.encode()


def _spot_html(spot: Spot) -> str:
    lines = "".join(
        f"<{tag}><i>{number:>5}  </i>{html.escape(text) or ' '}</{tag}>"
        for number, text in dedented(spot.lines)
        for tag in ["b" if number == spot.line else "span"]
    )
    return f"<h2>{html.escape(place_of(spot))}</h2><pre>{lines}</pre>"


def wants_page(headers: Mapping[str, str]) -> bool:
    """Whether a request is a browser's on this machine: one that was led here by another name is told nothing.

    Example:
        >>> wants_page({"accept": "text/html,*/*", "host": "localhost:8000"})
        True
        >>> wants_page({"accept": "text/html", "host": "rebound.example"})
        False
    """
    return "text/html" in headers.get("accept", "") and is_meant(headers)


def is_meant(headers: Mapping[str, str]) -> bool:
    """Whether a request names this machine as such: a page of somebody else's may have led it here by its own name."""
    return is_loopback(host_in(headers.get("host", "")))


def host_in(text: str) -> str:
    """The host that a Host header names, without its port.

    Example:
        >>> host_in("localhost:8000"), host_in("[::1]:8000"), host_in("::1")
        ('localhost', '[::1]', '::1')
    """
    host, colon, port = text.rpartition(":")
    return host if colon and port.isdigit() and (":" not in host or host.endswith("]")) else text
