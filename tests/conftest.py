"""What all tests share: property tests judge behaviour, never how fast this machine is."""

from hypothesis import settings

settings.register_profile("hanse", deadline=None, print_blob=True)
settings.load_profile("hanse")
