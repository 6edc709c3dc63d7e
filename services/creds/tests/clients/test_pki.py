import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from creds.clients import pki
from creds.clients.pki import Authority
from kaa_common.errors import BadRequest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
TENANT = "449ff659-939f-4ef7-93b5-058b9fb8cc0a"


@pytest.fixture(scope="module")
def instance() -> Authority:
    return pki.new_instance_authority(NOW)


@pytest.fixture(scope="module")
def tenant(instance: Authority) -> Authority:
    return pki.new_tenant_authority(instance, TENANT, NOW)


@pytest.fixture(scope="module")
def leaf(tenant: Authority) -> x509.Certificate:
    return pki.client_certificate(tenant, "disheartened-delicacy", pki.new_key().public_key(), NOW, YEAR)


def signing_request(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, name: str = "device"
) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.PEM).decode()


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_leaf_looks_as_kaas_do(leaf: x509.Certificate) -> None:
    assert leaf.issuer.rfc4514_string() == f"CN={TENANT}"
    assert leaf.subject.rfc4514_string() == "CN=disheartened-delicacy"
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (NOW - timedelta(seconds=30), NOW + YEAR)
    assert 120 < leaf.serial_number.bit_length() < 160
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.key_agreement, usage.value.key_cert_sign) == (True, True, False)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["disheartened-delicacy"]


def test_each_certificate_names_the_key_of_its_issuer(
    instance: Authority, tenant: Authority, leaf: x509.Certificate
) -> None:
    for certificate, issuer in ((leaf, tenant), (tenant.certificate, instance)):
        named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        own = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert named == own.digest


def test_key_encipherment_is_for_rsa_keys_only(tenant: Authority, leaf: x509.Certificate) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    of_rsa = pki.client_certificate(tenant, "a", rsa_key, NOW, YEAR)
    for certificate, expected in ((leaf, False), (of_rsa, True)):
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usage.key_encipherment is expected


def test_the_chain_verifies_for_a_client(instance: Authority, tenant: Authority, leaf: x509.Certificate) -> None:
    verifier = PolicyBuilder().store(Store([instance.certificate])).time(NOW + YEAR / 2).build_client_verifier()
    verified = verifier.verify(leaf, [tenant.certificate])
    assert verified.chain == [leaf, tenant.certificate, instance.certificate]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_verifies_the_chain(
    instance: Authority, tenant: Authority, leaf: x509.Certificate, tmp_path: Path
) -> None:
    other = pki.new_instance_authority(NOW)
    for name, certificate in (("root", instance), ("tenant", tenant), ("other", other)):
        (tmp_path / name).write_text(pki.certificate_pem(certificate.certificate))
    (tmp_path / "leaf").write_text(pki.certificate_pem(leaf))

    def verifies(root: str) -> bool:
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(int(NOW.timestamp()))]
        files = ["-CAfile", root, "-untrusted", "tenant", "leaf"]
        return subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, timeout=30).returncode == 0

    assert verifies("root")
    assert not verifies("other")


def test_no_certificate_outlives_its_authority(instance: Authority, tenant: Authority) -> None:
    late = tenant.ends - timedelta(days=1)
    with pytest.raises(BadRequest, match=r"^ttl: .* 86400 seconds"):
        pki.client_certificate(tenant, "a", pki.new_key().public_key(), late, YEAR)
    with pytest.raises(BadRequest, match=r"^ttl: .* 0 seconds"):
        pki.client_certificate(tenant, "a", pki.new_key().public_key(), tenant.ends, timedelta(0))
    last = pki.new_tenant_authority(instance, TENANT, instance.ends - YEAR)
    assert last.ends == instance.ends


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())],
    ids=["P-256", "P-384"],
)
def test_a_signing_request_gives_its_key_and_name(key: ec.EllipticCurvePrivateKey) -> None:
    request = pki.read_signing_request(signing_request(key))
    assert pki.client_key_of(request) == key.public_key()
    assert pki.common_name_in(request.subject) == "device"
    assert pki.common_name_in(x509.Name([])) is None


@pytest.mark.parametrize(
    "csr", ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
def test_what_is_no_signing_request_is_refused(csr: str) -> None:
    with pytest.raises(BadRequest, match=r"^csr: "):
        pki.read_signing_request(csr)


def test_a_signing_request_for_the_key_of_somebody_else_is_refused() -> None:
    mine, theirs = (pki.new_key() for _ in range(2))
    der = x509.load_pem_x509_csr(signing_request(mine).encode()).public_bytes(serialization.Encoding.DER)
    points = [
        key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        for key in (mine, theirs)
    ]
    forged = x509.load_der_x509_csr(der.replace(points[0], points[1])).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(BadRequest, match=r"^csr: it is not signed"):
        pki.read_signing_request(forged)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["short RSA", "another curve", "Ed25519"],
)
def test_a_key_that_is_too_weak_or_unknown_is_refused(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    with pytest.raises(BadRequest, match=r"^csr: its key must be"):
        pki.client_key_of(pki.read_signing_request(signing_request(key)))


def test_an_authority_made_elsewhere_is_taken(instance: Authority) -> None:
    pem = pki.certificate_pem(instance.certificate).encode()
    loaded = pki.load_authority(pem, pem_of(instance.private_key), NOW)
    assert loaded.certificate == instance.certificate
    issued = pki.new_tenant_authority(loaded, TENANT, NOW)
    issued.certificate.verify_directly_issued_by(instance.certificate)


def test_an_authority_that_could_not_issue_is_refused(instance: Authority, tenant: Authority) -> None:
    certificate, key = pki.certificate_pem(instance.certificate).encode(), pem_of(instance.private_key)
    of_tenant = pki.certificate_pem(tenant.certificate).encode()
    for arguments, reason in (
        ((b"x", key, NOW), "not a certificate"),
        ((certificate, b"x", NOW), "not an unencrypted private key"),
        ((certificate, pem_of(ed25519.Ed25519PrivateKey.generate()), NOW), "neither one of an elliptic curve"),
        ((of_tenant, key, NOW), "does not belong"),
        ((certificate, key, NOW + pki.INSTANCE_LIFETIME), "not valid today"),
        ((of_tenant, pem_of(tenant.private_key), NOW), "path length"),
    ):
        with pytest.raises(ValueError, match=reason):
            pki.load_authority(*arguments)


def test_an_authority_is_read_as_it_was_kept(tenant: Authority) -> None:
    kept = pki.certificate_pem(tenant.certificate), pki.private_key_der(tenant.private_key)
    read = pki.read_authority(*kept)
    assert (read.certificate, read.fingerprint) == (tenant.certificate, tenant.fingerprint)
    assert "PRIVATE" not in repr(read)
    assert pki.unix_ms(pki.utc(1_772_366_400_123)) == 1_772_366_400_000
