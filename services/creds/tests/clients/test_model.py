import itertools
import re
from pathlib import Path

import pytest

from creds.clients.model import (
    BasicCredentials,
    State,
    check_password,
    check_username,
    checked_common_name,
    checked_tenant_id,
    issuer_named,
    serial_number_of,
    split_username,
)
from creds.model import TRANSITIONS
from kaa_common.errors import BadRequest, Conflict, Forbidden

README = Path(__file__).parents[2] / "README.md"


def credentials(state: State) -> BasicCredentials:
    return BasicCredentials(id="id", revision=3, tenant_id="t", state=state, created_ms=1, updated_ms=2, username="u")


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_credentials_go_where_tokens_may(before: State, after: State) -> None:
    if after in TRANSITIONS[before]:
        moved = credentials(before).moved(after, 9)
        assert (moved.state, moved.revision, moved.updated_ms, moved.username) == (after, 4, 9, "u")
    else:
        with pytest.raises(Conflict, match=f"from {before} to {after}"):
            credentials(before).moved(after, 9)


def test_the_table_of_the_readme_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| ([^|]+) \|$", README.read_text(), re.MULTILINE)
    documented = {name: set(re.findall("|".join(State), after)) for name, after in rows if name in list(State)}
    assert documented == {str(state): {str(after) for after in afters} for state, afters in TRANSITIONS.items()}


@pytest.mark.parametrize("state", list(State))
def test_suspended_and_revoked_credentials_are_refused_saying_which(state: State) -> None:
    if state in (State.SUSPENDED, State.REVOKED):
        with pytest.raises(Forbidden, match=state.lower()):
            credentials(state).check_usable()
    else:
        credentials(state).check_usable()


@pytest.mark.parametrize("username", ["a", "cover-antelope", "A.b_c~d-9", "x" * 64])
def test_a_username_has_no_separator(username: str) -> None:
    check_username(username)
    assert split_username(f"{username}@tenant") == (username, "tenant")


@pytest.mark.parametrize("username", ["", "a b", "a@b", "ä", "a\n", "x" * 65])
def test_other_usernames_are_refused(username: str) -> None:
    with pytest.raises(BadRequest, match=r"^username: "):
        check_username(username)


def test_a_username_without_tenant_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"^username: "):
        split_username("cover-antelope")


@pytest.mark.parametrize("password", ["x" * 8, "x" * 128, "pass wörd @:/+#"])
def test_most_texts_can_be_a_password(password: str) -> None:
    check_password(password)


@pytest.mark.parametrize("password", ["", "s3cr3t", "s3cr3t" * 30, "s3cr3t\0s3cr3t"])
def test_other_passwords_are_refused_without_repeating_them(password: str) -> None:
    with pytest.raises(BadRequest, match=r"^password: ") as refusal:
        check_password(password)
    assert "s3cr3t" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a", "disheartened-delicacy", "pump-7.site.example", "x" * 64])
def test_a_common_name_is_a_host_name(name: str) -> None:
    assert checked_common_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", ".a", "a b", "a_b", "ä", "x" * 65, "a\n"])
def test_other_common_names_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"^commonName: "):
        checked_common_name(name)


@pytest.mark.parametrize("issuer", ["CN=tenant", "cn=tenant", " CN = tenant "])
def test_an_issuer_is_a_common_name(issuer: str) -> None:
    assert issuer_named(issuer) == "tenant"


@pytest.mark.parametrize("issuer", ["", "tenant", "CN=", "O=tenant", "CN=" + "x" * 129])
def test_other_issuers_are_refused(issuer: str) -> None:
    with pytest.raises(BadRequest, match=r"^issuer: "):
        issuer_named(issuer)


def test_a_serial_number_is_found_in_every_spelling() -> None:
    assert [serial_number_of(text) for text in ("7", "007", "0")] == ["7", "7", "0"]


@pytest.mark.parametrize("number", ["", "-7", "0x7", "7.0", "\u0667", "9" * 50])
def test_other_serial_numbers_are_refused(number: str) -> None:
    with pytest.raises(BadRequest, match=r"^serialNumber: "):
        serial_number_of(number)


def test_a_tenant_id_is_checked() -> None:
    assert checked_tenant_id("default") == "default"
    with pytest.raises(BadRequest, match=r"^tenantId: "):
        checked_tenant_id("a b")
