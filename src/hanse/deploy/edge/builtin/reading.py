"""Which library reads HTTP: httptools where it is installed, else h11."""

from __future__ import annotations

from hanse.deploy.edge.builtin.http1 import Reading


def reading(*, pure: bool = False) -> Reading:
    """What reads HTTP.

    Args:
        pure: Whether it is to be h11, whatever is installed.
    """
    if not pure:
        try:
            from hanse.deploy.edge.builtin.http1_httptools import ToolsRequests, ToolsResponses
        except ImportError:
            pass
        else:
            return Reading(ToolsRequests, ToolsResponses)
    from hanse.deploy.edge.builtin.http1_h11 import H11Requests, H11Responses

    return Reading(H11Requests, H11Responses)
