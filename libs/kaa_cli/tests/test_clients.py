import argparse
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kaa_cli.commands.clients import CLIENTS, seconds
from kaa_cli.main import main
from support.stack import Stack

Kaa = Callable[..., str]
SUSPENDED, ACTIVE, REVOKED = "Suspended", "Active", "Revoked"


@pytest.fixture
def kaa(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kaa:
    """Calls `kaa client` on the running platform; returns what it printed."""
    monkeypatch.setenv("KAA_URL", stack.http_url)
    monkeypatch.setenv("KAA_API_KEY", stack.api_key)

    def call(*arguments: str, exit_code: int = 0) -> str:
        capsys.readouterr()
        assert main(["client", *arguments]) == exit_code
        output = capsys.readouterr()
        return output.err if exit_code else output.out

    return call


def parsed(kaa: Kaa, *arguments: str) -> Any:
    return json.loads(kaa(*arguments, "--json"))


@pytest.mark.parametrize("kind", ["basic", "x509"])
def test_credentials_from_their_creation_to_their_end(kaa: Kaa, kind: str) -> None:
    created = parsed(kaa, kind, "create")
    name = created["username" if kind == "basic" else "commonName"]
    listed = kaa(kind, "list")
    assert all(text in listed for text in (created["id"], name, "Inactive"))
    assert created["id"] in kaa(kind, "list", "--limit", "1000", "--offset", "0")
    for verb, state in (("suspend", SUSPENDED), ("activate", ACTIVE), ("revoke", REVOKED)):
        changed = kaa(kind, verb, created["id"])
        assert state in changed
        assert ("cut off on" in changed) == (state != ACTIVE)
        assert state in kaa(kind, "show", created["id"])
    error = kaa(kind, "activate", created["id"], exit_code=1)
    assert error == "kaa: credentials cannot go from Revoked to Active\n"
    assert kaa(kind, "delete", created["id"]).startswith("deleted\ncut off on")
    assert created["id"] not in kaa(kind, "list")


def test_a_password_is_shown_once(kaa: Kaa) -> None:
    created = kaa("basic", "create", "--username", "shown-once")
    assert "Keep the password" in created
    assert "Clients connect as shown-once@default." in created
    [user] = [user for user in parsed(kaa, "basic", "list") if user["username"] == "shown-once"]
    assert "password" not in user
    assert "password" not in kaa("basic", "show", user["id"])
    assert kaa("basic", "create", "--username", "shown-once", exit_code=1) == "kaa: username: it is taken\n"


def test_a_password_is_read_from_a_file(kaa: Kaa, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    assert parsed(kaa, "basic", "create", "--password-file", str(file))["password"] == "correct horse"
    assert "cannot read" in kaa("basic", "create", "--password-file", str(tmp_path / "missing"), exit_code=1)


def test_a_certificate_and_its_key_are_shown_once(kaa: Kaa) -> None:
    created = kaa("x509", "create", "--common-name", "pump-7")
    assert created.count("BEGIN CERTIFICATE") == 2
    assert created.count("BEGIN PRIVATE KEY") == 1
    assert "Keep what is above" in created


def test_a_certificate_and_its_key_are_written_to_files_of_their_owner(kaa: Kaa, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    files = ("--certificate-file", str(chain), "--key-file", str(key))
    created = kaa("x509", "create", "--common-name", "pump-7", "--ttl", "1d", *files)
    assert "BEGIN" not in created
    leaf, _ = x509.load_pem_x509_certificates(chain.read_bytes())
    assert leaf.public_key() == serialization.load_pem_private_key(key.read_bytes(), None).public_key()
    assert 86_000 < (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() < 87_000
    assert {stat.S_IMODE(file.stat().st_mode) for file in (chain, key)} == {0o600}


def test_no_file_is_overwritten_or_left_behind(kaa: Kaa, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    key.write_text("precious")
    before = parsed(kaa, "x509", "list")
    files = ("--certificate-file", str(chain), "--key-file", str(key))
    assert "cannot create" in kaa("x509", "create", *files, exit_code=1)
    assert key.read_text() == "precious"
    key.unlink()
    assert "commonName" in kaa("x509", "create", "--common-name", "a b", *files, exit_code=1)
    assert not chain.exists()
    assert not key.exists()
    assert parsed(kaa, "x509", "list") == before


def test_a_signing_request_is_signed(kaa: Kaa, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    csr, chain = tmp_path / "request.pem", tmp_path / "chain.pem"
    csr.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    kaa("x509", "create", "--csr", str(csr), "--certificate-file", str(chain))
    assert x509.load_pem_x509_certificate(chain.read_bytes()).public_key() == key.public_key()
    assert "stays where it is" in kaa("x509", "create", "--csr", str(csr), "--key-file", "key", exit_code=1)


def test_a_time_to_live_has_a_unit() -> None:
    assert [seconds(text) for text in ("1s", "2m", "3h", "365d")] == [1, 120, 10_800, 31_536_000]
    for text in ("", "365", "d", "1w", "-1d", "1.5d"):
        with pytest.raises(argparse.ArgumentTypeError):
            seconds(text)


def test_the_authorities_verify_a_certificate(kaa: Kaa) -> None:
    leaf, tenant = x509.load_pem_x509_certificates(parsed(kaa, "x509", "create")["certificateChain"].encode())
    authorities = x509.load_pem_x509_certificates(kaa("ca", "show").encode())
    assert tenant in authorities
    leaf.verify_directly_issued_by(tenant)
    tenant.verify_directly_issued_by(authorities[0])


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for noun in CLIENTS.nouns:
        for command in noun.commands:
            with pytest.raises(SystemExit) as end:
                main(["client", noun.name, command.verb, "--help"])
            assert end.value.code == 0
            assert command.help in " ".join(capsys.readouterr().out.split())
