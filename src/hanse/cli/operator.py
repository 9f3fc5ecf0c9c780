"""Who gives a command."""

from __future__ import annotations

import getpass


def operator_name() -> str:
    """Who acts, for the record: the user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "operator"
