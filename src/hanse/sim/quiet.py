"""Silence, for what is cleared away."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def unheard() -> Generator[None]:
    """What is cleared away may complain that it was not done; nobody is to hear it."""
    hook, sys.unraisablehook = sys.unraisablehook, _ignore
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        sys.unraisablehook = hook


def _ignore(_: object) -> None:
    """Hears nothing."""
