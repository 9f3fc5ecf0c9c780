"""The command line. Each verb is a module of its own, imported only when it is called."""

from hanse.cli.group import main

__all__ = ["main"]
