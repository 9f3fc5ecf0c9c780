from hanse.kernel.message import NO_HEADERS, Headers, Identity
from hanse.transport.headers import KNOWN_MAX, KnownHeaders, encode_headers

IDENTIFIED = Headers(traceparent="00-1-2-01", identity=Identity("ada", scopes=frozenset({"read"})))


def test_headers_that_came_before_are_not_made_again() -> None:
    known = KnownHeaders()
    first = known.of(encode_headers(IDENTIFIED))
    assert first == IDENTIFIED
    assert known.of(encode_headers(IDENTIFIED)) is first
    assert known.of(encode_headers(NO_HEADERS)) is NO_HEADERS


def test_what_could_be_written_into_is_not_shared() -> None:
    known = KnownHeaders()
    encoded = encode_headers(Headers(tags={"booking": "1"}))
    known.of(encoded).tags["booking"] = "2"
    assert known.of(encoded).tags == {"booking": "1"}


def test_headers_that_somebody_wrote_into_are_not_given_to_others() -> None:
    known = KnownHeaders()
    encoded = encode_headers(IDENTIFIED)
    known.of(encoded).tags["mine"] = "alone"
    assert known.of(encoded) == IDENTIFIED


def test_few_headers_are_remembered() -> None:
    known = KnownHeaders()
    for number in range(2 * KNOWN_MAX + 1):
        _ = known.of(encode_headers(Headers(key=str(number))))
    assert len(known.known) == 1
    _ = known.of(encode_headers(Headers(key="k" * 10_000)))
    assert len(known.known) == 1, "large ones are not"
