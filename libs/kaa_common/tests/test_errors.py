import pytest

from kaa_common import errors
from kaa_common.errors import STATUS_CODES, BadRequest, KaaError, NotFound, Unavailable, error_of, status_of


class StoreAway(Unavailable):
    """As adapters derive their own."""


def test_every_error_has_a_status_code_of_its_own() -> None:
    declared = {error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, KaaError)}

    assert set(STATUS_CODES) == declared - {KaaError}
    assert len(set(STATUS_CODES.values())) == len(STATUS_CODES)


def test_the_tree_in_the_docstring_is_the_table() -> None:
    for error, status_code in STATUS_CODES.items():
        assert any(
            line.split()[1:3] == [error.__name__, str(status_code)] for line in (errors.__doc__ or "").splitlines()
        )


def test_the_reason_is_the_message_of_the_error() -> None:
    assert status_of(NotFound("no such token")) == (404, "no such token")


def test_an_error_without_a_message_has_the_phrase_of_its_status() -> None:
    assert status_of(BadRequest()) == (400, "Bad Request")


def test_a_derived_error_has_the_status_of_its_base() -> None:
    assert status_of(StoreAway("away")) == (503, "away")


@pytest.mark.parametrize("error", [RuntimeError("secret"), KaaError("secret"), ExceptionGroup("secret", [NotFound()])])
def test_an_unexpected_error_is_a_500_without_details(error: Exception) -> None:
    assert status_of(error) == (500, "internal error")


@pytest.mark.parametrize("status_code", STATUS_CODES.values())
def test_a_received_status_code_is_the_error_it_was(status_code: int) -> None:
    assert status_of(error_of(status_code, "reason")) == (status_code, "reason")


@pytest.mark.parametrize("status_code", [500, 418, 0, -1])
def test_a_received_status_code_without_an_error_is_unexpected(status_code: int) -> None:
    assert status_of(error_of(status_code, None)) == (500, "internal error")
