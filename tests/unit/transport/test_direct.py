from hanse.kernel.faults import Unavailable
from hanse.transport.direct import NotSent


def test_what_was_not_sent_says_why_and_is_unavailable_to_others() -> None:
    fault = NotSent("nobody listens at tcp://10.0.0.7:7421")
    assert str(fault) == "nobody listens at tcp://10.0.0.7:7421"
    assert isinstance(fault, Unavailable)
    assert fault.retryable
