"""The credentials service as the register sees it: it provisions an endpoint's first token, and discards it again."""

from dataclasses import dataclass
from typing import Final

from epr.model import Endpoint
from kaa_common.clock import Deadline
from kaa_common.errors import Conflict, Unavailable, error_of
from kaa_common.messages.ecap import TRANSITION_TOKEN_STATUS, EndpointTokenStatusTransitionRequest
from kaa_common.messages.etp import (
    DISCARD_TOKENS,
    PROVISION_TOKEN,
    EndpointTokenProvisionRequest,
    EndpointTokensDiscardRequest,
)
from kaa_common.rpc import Rpc, request_header

_BEFORE_FIRST_USE: Final = "Inactive"
"""The status no token can be moved to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedToken:
    id: str
    value: str
    status: str

    def __repr__(self) -> str:
        return f"ProvisionedToken(id={self.id!r})"  # the value is a secret


class Tokens:
    def __init__(self, rpc: Rpc, cm_instance: str, timeout: float) -> None:
        self._rpc = rpc
        self._cm_instance = cm_instance
        self._timeout = timeout

    @property
    def timeout(self) -> float:
        """Seconds that each call may take."""
        return self._timeout

    async def provision(self, endpoint: Endpoint, token: str | None) -> ProvisionedToken:
        """The endpoint's token: this one, or a new one for None.

        Raises BadRequest when it is malformed, Conflict when it is taken; Unavailable, DeadlineExceeded.
        """
        request = EndpointTokenProvisionRequest(
            **request_header(self._deadline(endpoint)),
            tenant_id=endpoint.tenant,
            app_name=endpoint.application,
            endpoint_id=endpoint.id,
            token=token,
        )
        response = (await self._rpc.call(PROVISION_TOKEN, self._cm_instance, request)).message
        if response.status_code == 409:
            raise Conflict("the endpoint token is taken")
        if response.status_code != 201:
            raise error_of(response.status_code, response.reason_phrase)
        if response.token_id is None or response.token is None or response.token_status is None:
            raise Unavailable("the credentials service gave no token")
        return ProvisionedToken(id=response.token_id, value=response.token, status=response.token_status)

    async def exists(self, application: str, token: str) -> bool:
        """Whether it is a token of some endpoint of the application. Raises Unavailable, DeadlineExceeded.

        16/ECAP has no such question: a validation would activate the token. So a status transition is asked for that
        is refused in any case: with 404 when there is no such token.
        """
        request = EndpointTokenStatusTransitionRequest(
            **request_header(Deadline.after(self._timeout)),
            app_name=application,
            token=token,
            target_status=_BEFORE_FIRST_USE,
        )
        response = (await self._rpc.call(TRANSITION_TOKEN_STATUS, self._cm_instance, request)).message
        if response.status_code not in (404, 409):
            raise error_of(response.status_code, response.reason_phrase)
        return response.status_code == 409

    async def discard(self, endpoint: Endpoint) -> None:
        """Delete all tokens of an endpoint id in the endpoint's application. Raises Unavailable, DeadlineExceeded."""
        request = EndpointTokensDiscardRequest(
            **request_header(self._deadline(endpoint)), app_name=endpoint.application, endpoint_id=endpoint.id
        )
        response = (await self._rpc.call(DISCARD_TOKENS, self._cm_instance, request)).message
        if response.status_code != 200:
            raise error_of(response.status_code, response.reason_phrase)

    def _deadline(self, endpoint: Endpoint) -> Deadline:
        """What concerns a reservation is over with it: nothing is done late to whoever has the id next."""
        latest = Deadline.after(self._timeout)
        if endpoint.reserved_until is None:
            return latest
        return min(latest, Deadline(endpoint.reserved_until), key=lambda deadline: deadline.at_ms)
