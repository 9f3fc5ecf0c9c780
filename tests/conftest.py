"""What all tests share: property tests judge behaviour, never how fast this machine is."""

import signal

from hypothesis import settings

settings.register_profile("hanse", deadline=None, print_blob=True)
settings.load_profile("hanse")

# A shell that has the tests run in its background has them ignore Ctrl-C, and so all commands that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    _ = signal.signal(signal.SIGINT, signal.default_int_handler)
