"""Releases side by side on a real server."""

from tests.transport.releases_suite import ReleasesSuite


class TestReleases(ReleasesSuite):
    pass
