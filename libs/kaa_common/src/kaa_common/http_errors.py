"""Errors as HTTP answers: the status of `errors.STATUS_CODES`, and a JSON body `{"message"}`."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kaa_common.errors import status_of


async def answer_error(_: Request, error: Exception) -> Response:
    """The answer to an error of our own, or to any unexpected one."""
    status_code, message = status_of(error)
    return JSONResponse({"message": message}, status_code)


async def answer_http_error(_: Request, error: Exception) -> Response:
    """The answer to an error of the framework: no such path, no such method."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"message": error.detail}, error.status_code, error.headers)
