"""Certificates for MQTT over TLS on this machine, made on the first start and kept.

    .kaa/tls/ca.pem, ca.key          an authority of this folder alone: give ca.pem to devices as what they trust
    .kaa/tls/server.pem, server.key  what the server shows, for localhost, 127.0.0.1, ::1 and this machine's name

The server's is made again by the same authority when it is about to expire, or the machine has another name.
"""

import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaa_common.errors import StartError

FOLDER = "tls"
CA_FILE = f"{FOLDER}/ca.pem"
AUTHORITY_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)
"""No client accepts a longer one of a server."""
RENEWED_BEFORE = timedelta(days=30)
BACKDATED = timedelta(hours=1)
"""Clocks of devices and this machine differ."""
MAX_NAME = 64


class TlsFiles(NamedTuple):
    certificate: Path
    key: Path


class _Pair(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def server_files(folder: Path) -> TlsFiles:
    """The files of the server's certificate and key, made if need be. Raises StartError."""
    tls = folder / FOLDER
    files = TlsFiles(tls / "server.pem", tls / "server.key")
    try:
        tls.mkdir(mode=0o700, exist_ok=True)
        authority = _authority(tls, datetime.now(UTC))
        if not _is_good(files.certificate, authority, datetime.now(UTC)):
            _write(files.key, files.certificate, _server(authority, datetime.now(UTC)), authority)
    except (OSError, ValueError) as exc:
        raise StartError(f"cannot use {tls}: {exc}; delete it, and another one is made") from exc
    return files


def _authority(tls: Path, now: datetime) -> _Pair:
    certificate_file, key_file = tls / "ca.pem", tls / "ca.key"
    if certificate_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return _Pair(x509.load_pem_x509_certificate(certificate_file.read_bytes()), key)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Kaa development CA")
    certificate = (
        _builder(name, name, key, now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, certificate_file, _Pair(certificate, key))
    return _Pair(certificate, key)


def _server(authority: _Pair, now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("localhost"), authority.certificate.subject, key, now, SERVER_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _is_good(certificate_file: Path, authority: _Pair, now: datetime) -> bool:
    if not certificate_file.exists():
        return False
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.issuer == authority.certificate.subject
        and certificate.not_valid_after_utc - now > RENEWED_BEFORE
        and set(names) == set(_names())
    )


def _names() -> list[x509.GeneralName]:
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    host = socket.gethostname()
    hosts = dict.fromkeys(["localhost", host] if host.isascii() and 0 < len(host) <= MAX_NAME else ["localhost"])
    return [*(x509.DNSName(name) for name in hosts), *addresses]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write(key_file: Path, certificate_file: Path, pair: _Pair, *chain: _Pair) -> None:
    """The key first: whoever finds the certificate finds its key."""
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        pair.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    certificates = [one.certificate.public_bytes(serialization.Encoding.PEM) for one in (pair, *chain)]
    draft = certificate_file.with_suffix(".new")
    draft.write_bytes(b"".join(certificates))
    draft.rename(certificate_file)
