import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_IMODE

import pytest
from cryptography import x509

from kaa_cli import development_tls
from kaa_cli.development_tls import CA_FILE, server_files
from kaa_common.errors import StartError


def certificates(file: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(file.read_bytes())


def test_the_server_has_a_certificate_of_the_folders_authority_for_this_machine(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    (authority,) = certificates(tmp_path / CA_FILE)
    server, following = certificates(files.certificate)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    server.verify_directly_issued_by(authority)
    assert following == authority
    assert {"localhost", socket.gethostname()} == set(names.get_values_for_type(x509.DNSName))
    addresses = [ipaddress.ip_address(address) for address in ("127.0.0.1", "::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses


def test_all_is_kept(tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in (*server_files(tmp_path), tmp_path / CA_FILE)}
    assert {file: file.read_bytes() for file in (*server_files(tmp_path), tmp_path / CA_FILE)} == before


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    server_files(tmp_path)
    assert S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert {S_IMODE(file.stat().st_mode) for file in (tmp_path / "tls").glob("*.key")} == {0o600}


@pytest.mark.parametrize("reason", ["it expires", "the machine has another name", "it is missing"])
def test_the_servers_is_made_again_by_the_same_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if reason == "it expires":
        monkeypatch.setattr(development_tls, "SERVER_LIFETIME", timedelta(days=29))
    authority, files = (server_files(tmp_path), certificates(tmp_path / CA_FILE))[::-1]
    before = certificates(files.certificate)
    monkeypatch.undo()
    if reason == "it is missing":
        files.certificate.unlink()
    elif reason == "the machine has another name":
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
    after = certificates(server_files(tmp_path).certificate)
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)
    assert certificates(tmp_path / CA_FILE) == authority
    assert after[0].not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)


def test_files_that_cannot_be_used_are_one_sentence(tmp_path: Path) -> None:
    server_files(tmp_path)
    (tmp_path / "tls" / "ca.key").write_text("no key")
    with pytest.raises(StartError, match=r"cannot use .*tls: .*; delete it"):
        server_files(tmp_path)
