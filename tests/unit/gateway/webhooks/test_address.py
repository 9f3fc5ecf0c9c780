"""Webhooks go to public addresses alone, however one that is not is written."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, strategies as st

from hanse.gateway.webhooks.address import (
    URL_CHARACTERS_MAX,
    AddressRefused,
    Reach,
    checked,
    literal_of,
    reach_of,
    refusal,
    target_of,
)
from hanse.kernel.faults import Misconfigured

NOWHERE = Reach()
INSIDE_4 = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
)
INSIDE_6 = (
    "::",
    "::1",
    "::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:101:101::1",
    "3fff::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
)
CARRIERS = ("::ffff:0:0", "64:ff9b::")
"""Under which an address of IPv6 leads to one of IPv4."""

inside = st.one_of(
    st.sampled_from(INSIDE_4).map(ip_address),
    st.builds(IPv4Address, st.integers(0, 2**32 - 1)).filter(lambda address: not address.is_global),
)


def carried(carrier: str, address: IPv4Address) -> IPv6Address:
    return IPv6Address(int(IPv6Address(carrier)) | int(address))


@pytest.mark.parametrize("text", [*INSIDE_4, *INSIDE_6])
def test_what_is_inside_is_refused_with_a_reason(text: str) -> None:
    assert refusal(ip_address(text), NOWHERE)


@pytest.mark.parametrize("text", ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_what_is_public_is_not(text: str) -> None:
    assert refusal(ip_address(text), NOWHERE) == ""


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_that_python_knows_to_be_inside_is_sent_to(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert refusal(address, NOWHERE)


@given(inside, st.sampled_from(CARRIERS))
def test_no_form_of_ipv6_carries_an_address_inside(address: IPv4Address, carrier: str) -> None:
    assert refusal(carried(carrier, address), NOWHERE)


@given(st.ip_addresses(v=4), st.sampled_from(CARRIERS))
def test_what_carries_an_address_is_judged_by_it(address: IPv4Address, carrier: str) -> None:
    assert refusal(carried(carrier, address), NOWHERE) == refusal(address, NOWHERE)


@given(st.ip_addresses(v=4))
def test_old_ways_to_carry_an_address_are_refused_whatever_they_carry(address: IPv4Address) -> None:
    number = int(address)
    assert refusal(IPv6Address(number), NOWHERE)
    assert refusal(IPv6Address((0x2002 << 112) | (number << 80)), NOWHERE)
    assert refusal(IPv6Address((0x20010000 << 96) | (number << 64) | (number ^ 0xFFFFFFFF)), NOWHERE)


@given(inside, st.sampled_from(["decimal", "hex", "octal", "short", "bytes"]))
def test_numbers_that_resolvers_take_for_addresses_are_refused(address: IPv4Address, form: str) -> None:
    number = int(address)
    first, rest = number >> 24, number & 0xFFFFFF
    text = {
        "decimal": str(number),
        "hex": hex(number),
        "octal": f"0{first:o}.{'.'.join(f'0{part:o}' for part in address.packed[1:])}",
        "short": f"{first}.{rest}" if rest > 255 else f"{first}.0.{rest}",
        "bytes": ".".join(hex(part) for part in address.packed),
    }[form]
    with pytest.raises(AddressRefused):
        target_of(f"https://{text}/", NOWHERE)


@given(st.text(max_size=40))
def test_whatever_comes_for_a_url_is_taken_apart_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/hooks"):
        try:
            target = target_of(url, NOWHERE)
        except AddressRefused:
            continue
        assert target.scheme == "https"
        assert target.host
        assert target.path.startswith("/")
        assert (literal := literal_of(target.host)) is None or not refusal(literal, NOWHERE)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://shop.example/", "expected https, got http"),
        ("file:///etc/passwd", "expected https"),
        ("gopher://shop.example/", "expected https"),
        ("shop.example/hooks", "no scheme"),
        ("https:///hooks", "host"),
        ("https://ada:secret@shop.example/", "credentials"),
        ("https://@shop.example/", "credentials"),
        ("https://shop.example/#part", "fragment"),
        ("https://shop.example:22/", "port"),
        ("https://shop.example:80/", "port"),
        ("https://shop.example:0/", "port"),
        ("https://shop.example:99999/", "no URL"),
        ("https://shop.example\\@10.0.0.1/", "visible ASCII"),
        ("https://shop.example/a b", "visible ASCII"),
        ("https://shop.example/\r\nhost:x", "visible ASCII"),
        ("https://shöp.example/", "visible ASCII"),
        ("https://\uff1127.0.0.1/", "visible ASCII"),
        ("https://127.0.0.1/", "loopback"),
        ("https://127.0.0.1./", "loopback"),
        ("https://[::1]/", "loopback"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://[fe80::1%25eth0]/", "zone"),
        ("https://[v1.x]/", "IPv6|no URL"),
        ("https://a..b/", "labels"),
        ("https://-a.example/", "labels"),
        ("https://a%2eb.example/", "labels"),
        ("https://shop.example/" + "a" * URL_CHARACTERS_MAX, "at most"),
    ],
)
def test_a_url_that_is_not_sent_to_says_why(url: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why):
        target_of(url, NOWHERE)


@pytest.mark.parametrize("url", ["https://ada:secret@shop.example/", "http://a:secret@b/", "https://a:secret@[::1]/"])
def test_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        target_of(url, NOWHERE)
    assert "secret" not in str(caught.value)


def test_what_is_allowed_is_sent_to_and_nothing_beside_it() -> None:
    reach = reach_of(["10.0.0.0/8", "::1"], http=True)
    assert target_of("http://10.1.2.3:8080/hooks?a=b", reach).authority == "10.1.2.3:8080"
    assert target_of("https://[::1]/", reach).authority == "[::1]"
    assert refusal(ip_address("::ffff:10.1.2.3"), reach) == ""
    assert refusal(ip_address("127.0.0.1"), reach) == "loopback"


def test_a_network_that_is_none_is_told_at_the_start() -> None:
    with pytest.raises(Misconfigured, match=r"10\.0\.0\.0/8"):
        reach_of(["10.0.0.1/8"])


def test_one_address_inside_is_enough_to_refuse_a_name() -> None:
    assert checked("shop.example", ["1.1.1.1", "2606:4700::1"], NOWHERE) == [
        ip_address("1.1.1.1"),
        ip_address("2606:4700::1"),
    ]
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1, which is private"):
        checked("shop.example", ["1.1.1.1", "10.0.0.1"], NOWHERE)
    with pytest.raises(AddressRefused, match="no address"):
        checked("shop.example", [], NOWHERE)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "db", "nas.local", "a.internal", "x.lan"])
def test_a_name_that_never_is_public_is_refused_before_it_is_resolved(host: str) -> None:
    with pytest.raises(AddressRefused, match=r"this machine, which is loopback|known inside alone|are private"):
        _ = target_of(f"https://{host}/hooks", NOWHERE)


def test_names_of_a_network_that_is_allowed_are_left_to_the_connection() -> None:
    inside, this_machine = reach_of(["10.0.0.0/8"]), reach_of(["127.0.0.0/8"])
    assert target_of("https://billing.internal/", inside).host == "billing.internal"
    assert target_of("https://localhost:8443/", this_machine).host == "localhost"
    with pytest.raises(AddressRefused, match="this machine"):
        _ = target_of("https://localhost/", inside)
