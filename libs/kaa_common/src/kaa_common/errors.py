"""The errors that reach a caller, and the one table that gives each its status code.

    KaaError
    ├── BadRequest            400  malformed input
    ├── Unauthorized          401  no or wrong credentials, unknown or withdrawn token
    ├── Forbidden             403  known, but not allowed
    ├── NotFound              404
    ├── MethodNotAllowed      405
    ├── Conflict              409  name or id taken, illegal transition
    ├── PreconditionFailed    412  If-Match / ifMatch names another revision
    ├── PayloadTooLarge       413
    ├── Unprocessable         422  well-formed, but cannot be applied
    ├── TooManyRequests       429
    ├── Unavailable           503  a part this depends on cannot be reached
    └── DeadlineExceeded      504  a part this depends on did not answer in time

The message of an error is its reason phrase: it is shown to the caller, so it is short, and never carries a secret.
"""

from http import HTTPStatus


class KaaError(Exception):
    """Base of every error that is meant to be shown to the caller."""


class StartError(Exception):
    """A process cannot start: one sentence for the operator, who can change that."""


class BadRequest(KaaError):
    pass


class Unauthorized(KaaError):
    pass


class Forbidden(KaaError):
    pass


class NotFound(KaaError):
    pass


class MethodNotAllowed(KaaError):
    pass


class Conflict(KaaError):
    pass


class PreconditionFailed(KaaError):
    pass


class PayloadTooLarge(KaaError):
    pass


class Unprocessable(KaaError):
    pass


class TooManyRequests(KaaError):
    pass


class Unavailable(KaaError):
    pass


class DeadlineExceeded(KaaError):
    pass


STATUS_CODES: dict[type[KaaError], int] = {
    BadRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    PreconditionFailed: 412,
    PayloadTooLarge: 413,
    Unprocessable: 422,
    TooManyRequests: 429,
    Unavailable: 503,
    DeadlineExceeded: 504,
}
_ERRORS = {status_code: error for error, status_code in STATUS_CODES.items()}

UNEXPECTED = "internal error"


def status_of(error: BaseException) -> tuple[int, str]:
    """Status code and reason phrase of an error; an unexpected one is a 500 without details."""
    for error_type in type(error).__mro__:
        status_code = STATUS_CODES.get(error_type)
        if status_code is not None:
            return status_code, str(error) or HTTPStatus(status_code).phrase
    return 500, UNEXPECTED


def error_of(status_code: int, reason_phrase: str | None) -> KaaError:
    """The error that a status code received from another service stands for."""
    return _ERRORS.get(status_code, KaaError)(reason_phrase or "")
