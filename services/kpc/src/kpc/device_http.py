"""The HTTP binding of 1/KP: `POST /kp1/...`, the body is the extension's payload, the answer its status and payload.

A bare ASGI application: devices use one path, and pay for no framework. The Content-Type is ignored (curl and most
device clients send what they like). There are so many requests at once at most, none of which sends its body for ever.
"""

import asyncio
from typing import Protocol

from starlette.types import Receive, Scope, Send

from kaa_common.budget import Budget
from kaa_common.errors import KaaError, MethodNotAllowed, NotFound, PayloadTooLarge
from kpc.edge import Outcome, refusal
from kpc.kp1 import error_payload, is_kp1
from kpc.tokens import Guesser

REQUEST_ID = 1
"""What an extension gets as the request id of a request that has none: over HTTP somebody always waits for the answer,
while an extension may leave a message without a request id unanswered."""

ADDRESS_GUESSES, ADDRESS_GUESSES_PER_SECOND = 100, 5.0
"""Wrong tokens from one address before its tokens that are not known yet have to wait: a site behind one router."""
MAX_ADDRESSES = 10_000
BODY_TIMEOUT = 10.0
"""Seconds for the body to arrive: what a slow mobile network needs for a small one."""
BUSY_RETRY_AFTER = 1
"""Seconds until a device that found all places taken should come again."""
INGRESS_PREFIX = "/kpc"
"""Kaa's cloud has devices behind its ingress use /kpc/kp1/..., Kaa's service itself /kp1/..."""


class Requests(Protocol):
    """What carries a request to its extension: `edge.Edge`."""

    async def request(
        self, transport: str, path: str, payload: bytes, *, guesser: Guesser, default_request_id: int | None = None
    ) -> Outcome: ...

    def sent(self, outcome: Outcome, size: int) -> None: ...


class ClientGoneError(Exception):
    """The device closed the connection before its request was complete."""


class DeviceHttp:
    """Mounted where the path of a request ends in a 1/KP path; in several places the same one."""

    def __init__(self, edge: Requests, max_payload: int, concurrency: int, body_timeout: float = BODY_TIMEOUT) -> None:
        """`concurrency` is how many requests there may be at once."""
        self._edge = edge
        self._max_payload = max_payload
        self._free = concurrency
        self._body_timeout = body_timeout
        self._guesses = Budget(burst=ADDRESS_GUESSES, per_second=ADDRESS_GUESSES_PER_SECOND, max_names=MAX_ADDRESSES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(INGRESS_PREFIX).removeprefix("/")
        headers = []
        try:
            if not is_kp1(path):
                raise NotFound("nothing here; device requests go to /kp1/...")
            if scope["method"] != "POST":
                headers = [(b"allow", b"POST")]
                raise MethodNotAllowed("only POST is allowed")
            outcome = await self._request(path, scope["client"][0] if scope.get("client") else "", receive)
        except ClientGoneError:
            return
        except TimeoutError:
            headers = [(b"connection", b"close")]
            outcome = Outcome(status_code=408, reason_phrase=f"the body did not arrive in {self._body_timeout:g} s")
        except KaaError as exc:
            outcome = refusal(exc)
        if outcome.retry_after:
            headers = [*headers, (b"retry-after", b"%d" % outcome.retry_after)]
        self._edge.sent(outcome, await _answer(send, outcome, headers))

    async def _request(self, path: str, address: str, receive: Receive) -> Outcome:
        if not self._free:
            return Outcome(
                status_code=503, reason_phrase="too many requests at once, wait", retry_after=BUSY_RETRY_AFTER
            )
        self._free -= 1
        try:
            async with asyncio.timeout(self._body_timeout):
                body = await self._read_body(receive)
            guesser = Guesser(self._guesses, address)
            return await self._edge.request("http", path, body, guesser=guesser, default_request_id=REQUEST_ID)
        finally:
            self._free += 1

    async def _read_body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        length = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > self._max_payload:
                raise PayloadTooLarge(f"payload longer than {self._max_payload} bytes")
            if not message.get("more_body", False):
                return b"".join(parts)


async def _answer(send: Send, outcome: Outcome, headers: list[tuple[bytes, bytes]]) -> int:
    """The bytes of the payload sent."""
    status_code, payload = outcome.status_code, outcome.payload
    if not outcome.is_success:
        payload = error_payload(status_code, outcome.reason_phrase)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload)), *headers]
    await send({"type": "http.response.start", "status": status_code, "headers": headers})
    await send({"type": "http.response.body", "body": payload})
    return len(payload)
