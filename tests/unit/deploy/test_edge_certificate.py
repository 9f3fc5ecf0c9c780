import ssl
import stat
from pathlib import Path

from cryptography import x509

from hanse.deploy.edge.certificate import LEFT_DAYS, VALID_DAYS, development_certificate
from hanse.kernel.host import Host

WALL = 1_700_000_000.0
DAY = 86_400.0


def test_a_certificate_is_for_this_machine_and_its_key_for_its_owner(tmp_path: Path) -> None:
    path, key = development_certificate(tmp_path / "tls", Host.fixed(wall=WALL, seed=1), ["shop.test"])
    names = x509.load_pem_x509_certificate(path.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost", "shop.test"]
    assert [str(one) for one in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)


def test_a_certificate_is_used_again_until_it_nears_its_end_or_lacks_a_name(tmp_path: Path) -> None:
    def made(days: float, *names: str) -> bytes:
        return development_certificate(tmp_path, Host.fixed(wall=WALL + days * DAY, seed=1), names)[0].read_bytes()

    first = made(0)
    assert made(VALID_DAYS - LEFT_DAYS - 1) == first
    renewed = made(VALID_DAYS - LEFT_DAYS + 1)
    assert renewed != first
    assert made(VALID_DAYS - LEFT_DAYS + 1, "shop.test") != renewed


def test_what_is_no_certificate_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "development.pem").write_text("none")
    path, key = development_certificate(tmp_path, Host.fixed(wall=WALL, seed=1))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)
