"""What third parties test with: suites that hold an adapter of theirs to every promise of its port.

Nothing here is imported by a running service. Each module needs pytest and hypothesis, and imports them itself.
"""
