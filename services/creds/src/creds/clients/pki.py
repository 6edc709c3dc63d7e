"""X.509: the authority of this installation issues those of its tenants, which issue certificates of clients.

A client's certificate looks as Kaa's do: issuer `CN=<tenant id>`, a random serial number of 20 octets, valid from half
a minute before, digital signature and key agreement, for servers and clients, the common name as its DNS name. Keys
are made on the curve P-256: signing costs a device little, and the chain is a third of one with RSA (ADR 0011).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaa_common.errors import BadRequest

INSTANCE_NAME: Final = "Kaa platform"
INSTANCE_LIFETIME: Final = timedelta(days=30 * 365)
TENANT_LIFETIME: Final = timedelta(days=20 * 365)
BACKDATED: Final = timedelta(seconds=30)
"""Clocks of devices and servers differ."""
RSA_SIZES: Final = range(2048, 4096 + 1)
"""Bits of a key that a client brings: shorter ones are broken, longer ones only cost time."""
CURVES: Final = ("secp256r1", "secp384r1")

AuthorityKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
ClientKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority."""

    certificate: Certificate
    private_key: AuthorityKey = field(repr=False)

    @property
    def ends(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_instance_authority(now: datetime) -> Authority:
    """An authority that vouches for itself."""
    key = new_key()
    name = _name(INSTANCE_NAME)
    builder = _authority_builder(name, key.public_key(), now, now + INSTANCE_LIFETIME, path_length=1)
    certificate = builder.issuer_name(name).sign(key, hashes.SHA256())
    return Authority(certificate=certificate, private_key=key)


def new_tenant_authority(issuer: Authority, tenant_id: str, now: datetime) -> Authority:
    key = new_key()
    ends = min(now + TENANT_LIFETIME, issuer.ends)
    builder = _authority_builder(_name(tenant_id), key.public_key(), now, ends, path_length=0)
    return Authority(certificate=_signed(builder, issuer), private_key=key)


def client_certificate(
    issuer: Authority, common_name: str, key: ClientKey, now: datetime, ttl: timedelta
) -> Certificate:
    """A certificate of the client that holds the other half of the key. Raises BadRequest."""
    if not now < now + ttl <= issuer.ends:
        left = (issuer.ends - now) // timedelta(seconds=1)
        raise BadRequest(f"ttl: the certificate would outlive its authority, which ends in {left} seconds")
    builder = (
        _builder(_name(common_name), key, now, now + ttl)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # RFC 8813 section 3: a key of an elliptic curve must not be marked for key encipherment.
        .add_extension(_key_usage(key_encipherment=isinstance(key, rsa.RSAPublicKey), key_agreement=True), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), False)
    )
    return _signed(builder, issuer)


def read_signing_request(pem: str) -> x509.CertificateSigningRequest:
    """A PKCS #10 request whose sender has its private key. Raises BadRequest."""
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        is_signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise BadRequest("csr: a certificate signing request in PEM is expected") from None
    if not is_signed:
        raise BadRequest("csr: it is not signed with the private key of its public key")
    return request


def client_key_of(request: x509.CertificateSigningRequest) -> ClientKey:
    """Raises BadRequest unless the key is one that a certificate should be issued for."""
    key = request.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_SIZES:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return key
    raise BadRequest("csr: its key must be on the curve P-256 or P-384, or RSA of 2048 to 4096 bits")


def common_name_in(name: x509.Name) -> str | None:
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(attribute.value)
    return None


def load_authority(certificate_pem: bytes, key_pem: bytes, now: datetime) -> Authority:
    """An authority that was made elsewhere. Raises ValueError, with a sentence for the operator."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as exc:
        raise ValueError("the certificate of the authority is not a certificate in PEM") from exc
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ValueError("the key of the authority is not an unencrypted private key in PEM") from exc
    if not isinstance(key, AuthorityKey):
        raise ValueError("the key of the authority is neither one of an elliptic curve (ECDSA) nor RSA")
    if key.public_key() != certificate.public_key():
        raise ValueError("the key of the authority does not belong to its certificate")
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise ValueError("the certificate of the authority is not valid today")
    if not _may_issue_authorities(certificate):
        raise ValueError(
            "the certificate of the authority must be that of a CA with a path length of at least one, the key usage"
            " keyCertSign and a subject key identifier"
        )
    return Authority(certificate=certificate, private_key=key)


def read_authority(certificate_pem: str, key_der: bytes) -> Authority:
    """An authority as it was kept."""
    key = serialization.load_der_private_key(key_der, None)
    assert isinstance(key, AuthorityKey)
    return Authority(certificate=x509.load_pem_x509_certificate(certificate_pem.encode()), private_key=key)


def certificate_pem(certificate: Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """PKCS #8, unencrypted: for the one who asked for it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def private_key_der(key: AuthorityKey) -> bytes:
    """PKCS #8, unencrypted: to be sealed."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def utc(unix_ms: int) -> datetime:
    """Whole seconds, as certificates have them."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC)


def unix_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, key: ClientKey, now: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority_builder(
    subject: x509.Name, key: ClientKey, now: datetime, ends: datetime, path_length: int
) -> x509.CertificateBuilder:
    return (
        _builder(subject, key, now, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(digital_signature=False, signs_certificates=True), critical=True)
    )


def _signed(builder: x509.CertificateBuilder, issuer: Authority) -> Certificate:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)
    return (
        builder.issuer_name(issuer.certificate.subject)
        .add_extension(authority, critical=False)
        .sign(issuer.private_key, hashes.SHA256())
    )


def _key_usage(
    *,
    digital_signature: bool = True,
    key_encipherment: bool = False,
    key_agreement: bool = False,
    signs_certificates: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _may_issue_authorities(certificate: Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and constraints.path_length != 0 and usage.key_cert_sign
