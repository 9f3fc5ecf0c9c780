"""A process that hosts some of an app: services, store, transport and mesh, wired by hand."""

from hanse.node.app import App
from hanse.node.node import Node

__all__ = ["App", "Node"]
