import itertools

import pytest

from creds.model import (
    ALPHABET,
    TRANSITIONS,
    Token,
    TokenStatus,
    check_value,
    generate_value,
    new_token,
    status_named,
)
from kaa_common.errors import BadRequest, Conflict

LEGAL = {
    ("Inactive", "Active"),
    ("Inactive", "Suspended"),
    ("Inactive", "Revoked"),
    ("Active", "Suspended"),
    ("Active", "Revoked"),
    ("Suspended", "Active"),
    ("Suspended", "Revoked"),
}


def token(status: TokenStatus) -> Token:
    return Token(
        id="id", revision=3, tenant_id="t", app_name="a", endpoint_id="e", status=status, created_ms=1, updated_ms=2
    )


@pytest.mark.parametrize(("before", "after"), list(itertools.product(TokenStatus, TokenStatus)))
def test_a_token_goes_only_where_it_may(before: TokenStatus, after: TokenStatus) -> None:
    if (before, after) in LEGAL:
        moved = token(before).moved(after, 9)
        assert (moved.status, moved.revision, moved.updated_ms) == (after, 4, 9)
    else:
        with pytest.raises(Conflict, match=rf"{before} to {after}"):
            token(before).moved(after, 9)


def test_every_status_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(TokenStatus)


@pytest.mark.parametrize("value", ["a", "JTjdbENzHh", "x" * 128, "ä ~*>$", "4b1fb7f4-6d2e-4a54-8f2b-0e4a0d0fd0a1"])
def test_any_text_without_separators_can_be_a_token(value: str) -> None:
    check_value(value)


@pytest.mark.parametrize("value", ["", "a+b", "#", "a/b", "a.b", "x" * 129, "a\0", "a\n", "\x7f", "\x85"])
def test_other_values_are_refused_without_repeating_them(value: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        check_value(value)
    assert len(value) < 2 or value not in str(refusal.value)


def test_a_generated_value_has_the_length_and_the_chosen_characters() -> None:
    chosen = iter("JTjdbENzHh")
    offered = set()

    def choose(alphabet: str) -> str:
        offered.add(alphabet)
        return next(chosen)

    assert generate_value(10, choose) == "JTjdbENzHh"
    assert offered == {ALPHABET}
    assert sorted(ALPHABET) == sorted(set(ALPHABET))
    assert len(ALPHABET) == 62


@pytest.mark.parametrize(
    ("app_name", "endpoint_id"), [("App", "e"), ("", "e"), ("a", ""), ("a", "e/f"), ("a", "e" * 129)]
)
def test_a_token_of_what_cannot_exist_is_refused(app_name: str, endpoint_id: str) -> None:
    with pytest.raises(BadRequest):
        new_token("id", "tenant", app_name, endpoint_id, 1)


def test_a_new_token_is_inactive() -> None:
    assert new_token("id", "tenant", "a", "e.~_-E9", 1).status is TokenStatus.INACTIVE


@pytest.mark.parametrize("name", ["", "active", "ACTIVE", "Deleted"])
def test_an_unknown_status_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="Inactive, Active, Suspended, Revoked"):
        status_named(name)
