"""Bugs planted on purpose, and the worlds that have to find them."""
