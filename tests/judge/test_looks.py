"""A rollout looked at four times a second, under people who wait for their answers: the same release is not blamed."""

import pytest

from .looks import Crowd, alarms

pytestmark = pytest.mark.usefixtures("untraced")


@pytest.mark.parametrize(
    "crowd",
    [
        Crowd(broken=3, stalls=1.0, seconds=30.0),
        Crowd(broken=8, stalls=0.2, seconds=30.0),
        Crowd(strangers=1, stalls=1.0, outage=(5.0, 20.0, 0.3), seconds=30.0),
    ],
    ids=["a few for whom everything fails", "more of them", "both fail"],
)
def test_the_same_release_is_not_rolled_back(crowd: Crowd) -> None:
    assert alarms(crowd, 40) == 0
