"""The bus interface: 16/ECAP for whoever holds a token, provisioning for the register, and the register's events."""

import asyncio
import logging

from creds.model import Token, status_named
from creds.tokens import Tokens
from kaa_common.errors import Unavailable
from kaa_common.messages.cop import ASK_USABLE, UsableRequest, UsableResponse
from kaa_common.messages.ecap import (
    TRANSITION_TOKEN_STATUS,
    VALIDATE_TOKEN,
    EndpointTokenStatusTransitionRequest,
    EndpointTokenStatusTransitionResponse,
    EndpointTokenValidationRequest,
    EndpointTokenValidationResponse,
)
from kaa_common.messages.elce import UNREGISTERED, UnregisteredEvent
from kaa_common.messages.etp import (
    DISCARD_TOKENS,
    PROVISION_TOKEN,
    EndpointTokenProvisionRequest,
    EndpointTokenProvisionResponse,
    EndpointTokensDiscardRequest,
    EndpointTokensDiscardResponse,
)
from kaa_common.rpc import Reply, Rpc, answer_header

logger = logging.getLogger(__name__)

RETRY_WAIT = 1.0
RETRY_FOR = 60.0
"""Seconds: an event is not sent again, so a store that comes back within a minute must not cost it."""


class BusApi:
    """The handlers of the messages, bound to the use cases."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def serve(self, rpc: Rpc, instance: str, register_instance: str) -> None:
        """Answer requests to the service instance, follow the events of the register."""
        await rpc.serve(VALIDATE_TOKEN, instance, self.validate)
        await rpc.serve(TRANSITION_TOKEN_STATUS, instance, self.transition)
        await rpc.serve(PROVISION_TOKEN, instance, self.provision)
        await rpc.serve(DISCARD_TOKENS, instance, self.discard)
        await rpc.serve(ASK_USABLE, instance, self.usable)
        await rpc.listen(UNREGISTERED, register_instance, self.unregistered, queue=instance)

    async def validate(self, request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        token = await self._tokens.validate(request.app_name, request.token)
        return Reply(
            EndpointTokenValidationResponse(
                **answer_header(request), token_id=token.id, endpoint_id=token.endpoint_id, status_code=200
            )
        )

    async def transition(
        self, request: EndpointTokenStatusTransitionRequest
    ) -> Reply[EndpointTokenStatusTransitionResponse]:
        target = status_named(request.target_status)
        await self._tokens.move(request.app_name, request.token, target)
        return Reply(EndpointTokenStatusTransitionResponse(**answer_header(request), status_code=200))

    async def provision(self, request: EndpointTokenProvisionRequest) -> Reply[EndpointTokenProvisionResponse]:
        provisioned = await self._tokens.provision(
            request.tenant_id, request.app_name, request.endpoint_id, request.token
        )
        return Reply(
            EndpointTokenProvisionResponse(
                **answer_header(request),
                token_id=provisioned.token.id,
                token=provisioned.value,
                token_status=str(provisioned.token.status),
                status_code=201,
            )
        )

    async def discard(self, request: EndpointTokensDiscardRequest) -> Reply[EndpointTokensDiscardResponse]:
        await self._tokens.discard(request.endpoint_id, lambda token: token.app_name == request.app_name)
        return Reply(EndpointTokensDiscardResponse(**answer_header(request), status_code=200))

    async def usable(self, request: UsableRequest) -> Reply[UsableResponse]:
        token_ids = tuple(await self._tokens.usable(request.token_ids))
        return Reply(UsableResponse(**answer_header(request), token_ids=token_ids, status_code=200))

    async def unregistered(self, event: UnregisteredEvent) -> None:
        def was_there(token: Token) -> bool:
            # Newer ones are of an endpoint that was registered again with the same id.
            return token.created_ms < event.timestamp

        async with asyncio.timeout(RETRY_FOR):
            while True:
                try:
                    return await self._tokens.discard(event.endpoint_id, was_there)
                except Unavailable as exc:
                    logger.warning("the tokens of an unregistered endpoint are deleted later: %s", exc)
                    await asyncio.sleep(RETRY_WAIT)
