import logging
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from kaa_common.errors import StartError
from kpc.certificates import Certificates, certificates_in
from support.certificates import KeyPair, make_certificate

MALFORMED = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate("server").write(tmp_path, "server")


def test_nothing_but_certificates_is_shown(files: tuple[Path, Path]) -> None:
    certificate_file, key_file = files
    certificate = certificate_file.read_text()
    assert certificates_in(f"text\n{certificate}{key_file.read_text()}{certificate}") == certificate * 2
    certificate_file.write_text(key_file.read_text() + certificate)
    assert Certificates(certificate_file, key_file).chain == certificate


@pytest.mark.parametrize("content", [None, "", "no certificate", MALFORMED], ids=["none", "empty", "text", "malformed"])
@pytest.mark.parametrize("broken", [0, 1])
def test_files_that_cannot_be_used_at_the_start_are_one_sentence(
    files: tuple[Path, Path], broken: int, content: str | None
) -> None:
    if content is None:
        files[broken].unlink()
    else:
        files[broken].write_text(content)
    with pytest.raises(StartError, match=r"cannot use the TLS files .*server.pem, .*server.key: ."):
        Certificates(*files)


def test_a_key_that_is_encrypted_is_refused_without_asking_for_its_password(files: tuple[Path, Path]) -> None:
    key = serialization.load_pem_private_key(files[1].read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    files[1].write_bytes(encrypted)
    with pytest.raises(StartError):
        Certificates(*files)


def test_broken_files_are_reported_and_the_former_ones_stay_in_use(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(*files)
    before, text = certificates.context, files[0].read_text()
    certificates.refresh()
    assert certificates.context is before
    files[0].write_text("half a certificate")
    certificates.refresh()
    assert certificates.context is before
    assert [record.levelno for record in caplog.records if record.name == "kpc.certificates"] == [logging.ERROR]
    files[0].write_text(text)
    certificates.refresh()
    assert certificates.context is not before


def test_trusted_authorities_change_the_context_only_when_they_differ(files: tuple[Path, Path]) -> None:
    certificates = Certificates(*files)
    first = certificates.context
    authority: KeyPair = make_certificate("authority", is_authority=True)
    certificates.trust(authority.pem)
    second = certificates.context
    certificates.trust(authority.pem)
    assert first is not second
    assert certificates.context is second
    assert [len(context.get_ca_certs()) for context in (first, second)] == [0, 1]
    assert second.verify_mode is ssl.CERT_OPTIONAL
    with pytest.raises(ssl.SSLError):
        certificates.trust(MALFORMED)
    assert certificates.context is second


def test_authorities_of_a_file_are_trusted_too(files: tuple[Path, Path], tmp_path: Path) -> None:
    brought, ours = (make_certificate(name, is_authority=True) for name in ("brought", "ours"))
    certificates = Certificates(*files, brought.write(tmp_path, "brought")[0])
    certificates.trust(ours.pem)
    assert len(certificates.context.get_ca_certs()) == 2
