"""Servers that services need, as they are on this machine: found, prepared once, and asked how they are."""
