"""What an edge shows of itself: a certificate that is given, or one to develop with.

The latter is signed by nobody but itself, for this machine, and made anew before it ends.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from hanse.deploy.home import Home
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import EdgeSettings

if TYPE_CHECKING:
    from cryptography import x509

VALID_DAYS = 90
"""That a certificate is good for."""

LEFT_DAYS = 14
"""That it has to be good for yet to be used again."""

NAMES = ("localhost", "127.0.0.1", "::1")
"""What every development certificate is for."""

DEVELOPMENT = "development"
"""Stands in settings for a certificate to develop with."""

_SKEW = timedelta(hours=1)
_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - an address that is no name


def shown_certificate(edge: EdgeSettings, home: Home, host: Host) -> tuple[str, str]:
    """Paths of the certificate that the edge of a system shows, and of its key; empty for plain HTTP.

    Args:
        edge: Its settings.
        home: Of the system: paths are from the folder of its settings, and what is made is kept in its own.
        host: Its clock.

    Raises:
        Misconfigured: A file is not there, or there is a key without a certificate; or as `development_certificate`.
    """
    if edge.certificate == DEVELOPMENT:
        made = development_certificate(home.folder / "tls", host, [edge.host] if edge.host not in _ANY else ())
        return str(made[0]), str(made[1])
    if edge.key and not edge.certificate:
        raise Misconfigured("edge.key: expected edge.certificate beside it, got none")
    certificate, key = (str(home.project / value) if value else "" for value in (edge.certificate, edge.key))
    for name, path in (("certificate", certificate), ("key", key)):
        if path and not Path(path).is_file():
            raise Misconfigured(f"edge.{name}: expected a file (PEM), got none at {path}")
    return certificate, key


def development_certificate(folder: Path, host: Host, names: Sequence[str] = ()) -> tuple[Path, Path]:
    """A certificate and its key, for this machine alone: those in the folder, or new ones.

    Browsers and clients warn of it until they are told to trust it; it is no certificate for anybody else.

    Args:
        folder: Where both are kept, as `development.pem` and `development.key`; the key is readable by its owner only.
        host: Its clock.
        names: What it is for besides `NAMES`.

    Returns:
        The paths of both.

    Raises:
        Misconfigured: The package that makes certificates is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     certificate, key = development_certificate(Path(name), Host.system())
        ...     certificate.read_text().splitlines()[0]
        '-----BEGIN CERTIFICATE-----'
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise Misconfigured(
            "a development certificate needs another package: pip install 'hanse[edge]'; or name a certificate of your "
            "own in edge.certificate and edge.key"
        ) from None
    path, key_path = folder / "development.pem", folder / "development.key"
    now, wanted = datetime.fromtimestamp(host.now(), UTC), list(dict.fromkeys([*NAMES, *names]))
    if _is_good(path, now, wanted) and key_path.exists():
        return path, key_path
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hanse development")])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(one) for one in wanted]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    _write(key_path, secret)
    _write(path, certificate.public_bytes(serialization.Encoding.PEM))
    return path, key_path


def _is_good(path: Path, now: datetime, names: Sequence[str]) -> bool:
    """Whether there is a certificate already, for these names and for long enough."""
    from cryptography import x509

    try:
        known = x509.load_pem_x509_certificate(path.read_bytes())
        alternatives = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    told = {str(one) for kind in (x509.DNSName, x509.IPAddress) for one in alternatives.get_values_for_type(kind)}
    return set(names) <= told and known.not_valid_after_utc - now > timedelta(days=LEFT_DAYS)


def _general(name: str) -> x509.GeneralName:
    from cryptography import x509

    address = _address(name)
    return x509.DNSName(name) if address is None else x509.IPAddress(address)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    end = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(end, "wb") as file:
        _ = file.write(content)
    _ = beside.replace(path)
