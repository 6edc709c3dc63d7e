"""A withdrawn token or credential ends here at once, as creds is told (COP); and what if it cannot be.

Again and again this replica gives a sign of life and sees whether the bus carries it. What is kept about tokens is
believed only for a short while after the last time it did: a replica that was frozen or cut off has to ask again. When
it is back it asks which tokens and credentials of its sessions are still usable, as it may have missed a withdrawal.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from cachetools import TTLCache

from kaa_common.clock import Deadline
from kaa_common.errors import KaaError, Unavailable, error_of
from kaa_common.messages.cap import (
    BASIC_CREDENTIALS_REVOKED,
    CERTIFICATE_CREDENTIALS_REVOKED,
    ClientCredentialsRevokedEvent,
)
from kaa_common.messages.cop import (
    ASK_USABLE,
    ASK_USABLE_CREDENTIALS,
    CUT_OFF,
    REPLICA_ALIVE,
    REPLICA_LEFT,
    CutOffRequest,
    CutOffResponse,
    ReplicaEvent,
    UsableCredentialsRequest,
    UsableRequest,
)
from kaa_common.messages.ecap import TOKEN_REVOKED, EndpointTokenRevokedEvent
from kaa_common.rpc import Reply, Rpc, answer_header, event_header, request_header
from kpc.tokens import Tokens

logger = logging.getLogger(__name__)

BEAT_INTERVAL = 0.3
"""Seconds between two signs of life: three in the time for which kept tokens are trusted."""
BEAT_TIMEOUT = 1.0
"""Seconds for the bus to confirm one."""
MAX_ENDED, ENDED_FOR = 10_000, 10.0
"""Tokens and credentials, and seconds for which is known how many sessions ended; the question comes within one."""
ASK_TIMEOUT = 4.0
ASKED_AT_ONCE = 1000
"""Tokens or credentials in one request: well below what a message may hold."""


class Sessions(Protocol):
    """The sessions of endpoints on this replica: `device_mqtt.DeviceMqtt`."""

    def session_tokens(self) -> Collection[tuple[str, str]]:
        """Endpoint id and token id of each session."""

    async def end_sessions(self, endpoint_id: str, token_ids: Collection[str]) -> int:
        """End the sessions of the endpoint that use one of these tokens; how many there were."""


class Clients(Protocol):
    """The clients of this replica's connections: `client_auth.ClientAuth`."""

    def credentials_in_use(self) -> Collection[str]:
        """Ids of the credentials that connections were made with."""

    def end_clients(self, credentials_id: str) -> int:
        """End the connections that were made with these credentials; how many there were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """Names on the bus."""

    kpc: str
    cm: str
    ccm: str


class CutOff:
    def __init__(self, rpc: Rpc, tokens: Tokens, sessions: Sessions, clients: Clients, instances: Instances) -> None:
        self._rpc = rpc
        self._tokens = tokens
        self._sessions = sessions
        self._clients = clients
        self._instances = instances
        self._was_away = False
        # The event may come before the question: what it ended is still part of the answer.
        self._ended: TTLCache[str, int] = TTLCache(MAX_ENDED, ENDED_FOR)
        rpc.bus.on_connection_lost(self._may_have_missed_something)

    async def start(self) -> None:
        await self._rpc.serve(CUT_OFF, self._rpc.replica_id, self._confirm)
        await self._rpc.listen(TOKEN_REVOKED, self._instances.cm, self._revoked)
        for event in (BASIC_CREDENTIALS_REVOKED, CERTIFICATE_CREDENTIALS_REVOKED):
            await self._rpc.listen(event, self._instances.ccm, self._credentials_revoked)

    async def keep_beating(self) -> None:
        """Give signs of life for as long as this replica works."""
        while True:
            with suppress(KaaError):
                await self.beat()
            await asyncio.sleep(BEAT_INTERVAL)

    async def beat(self) -> None:
        """One sign of life. Raises KaaError when the bus or the credentials service cannot be asked."""
        asked_at = self._tokens.clock()
        await self._rpc.emit(REPLICA_ALIVE, self._instances.kpc, self._sign())
        await self._rpc.bus.flush(BEAT_TIMEOUT)
        self._tokens.trust(since=asked_at)
        if self._was_away:
            # Cleared first: the connection may be lost again while the sessions are checked.
            self._was_away = False
            try:
                await self._check_sessions()
            except KaaError:
                self._was_away = True
                raise

    async def say_goodbye(self) -> None:
        """This replica leaves: nobody needs to wait for it."""
        with suppress(Unavailable):
            await self._rpc.emit(REPLICA_LEFT, self._instances.kpc, self._sign())

    def _sign(self) -> ReplicaEvent:
        return ReplicaEvent(**event_header(), originator_replica_id=self._rpc.replica_id)

    def _may_have_missed_something(self) -> None:
        self._was_away = True
        self._tokens.forget()

    async def _revoked(self, event: EndpointTokenRevokedEvent) -> None:
        await self._end(event.endpoint_id, event.token_ids)

    async def _credentials_revoked(self, event: ClientCredentialsRevokedEvent) -> None:
        self._end_clients(event.credentials_id)

    async def _confirm(self, request: CutOffRequest) -> Reply[CutOffResponse]:
        ended = 0
        if request.endpoint_id is not None:
            await self._end(request.endpoint_id, request.token_ids)
            ended = sum(self._ended.pop(token_id, 0) for token_id in request.token_ids)
        for credentials_id in request.credentials_ids:
            self._end_clients(credentials_id)
            ended += self._ended.pop(credentials_id, 0)
        return Reply(CutOffResponse(**answer_header(request), ended_sessions=ended, status_code=200))

    async def _end(self, endpoint_id: str, token_ids: Collection[str]) -> None:
        self._tokens.revoke(token_ids)
        for token_id in token_ids:
            if ended := await self._sessions.end_sessions(endpoint_id, [token_id]):
                self._ended[token_id] = self._ended.get(token_id, 0) + ended

    def _end_clients(self, credentials_id: str) -> None:
        if ended := self._clients.end_clients(credentials_id):
            self._ended[credentials_id] = self._ended.get(credentials_id, 0) + ended

    async def _check_sessions(self) -> None:
        """End what was made with tokens and credentials that were withdrawn while nobody could say so here."""
        sessions = list(self._sessions.session_tokens())
        for first in range(0, len(sessions), ASKED_AT_ONCE):
            some = sessions[first : first + ASKED_AT_ONCE]
            usable = await self._usable({token_id for _, token_id in some})
            for endpoint_id, token_id in some:
                if token_id not in usable:
                    await self._end(endpoint_id, [token_id])
        in_use = list(self._clients.credentials_in_use())
        for first in range(0, len(in_use), ASKED_AT_ONCE):
            credentials_ids = in_use[first : first + ASKED_AT_ONCE]
            for credentials_id in set(credentials_ids) - await self._usable_credentials(credentials_ids):
                self._end_clients(credentials_id)

    async def _usable(self, token_ids: set[str]) -> set[str]:
        request = UsableRequest(**request_header(Deadline.after(ASK_TIMEOUT)), token_ids=tuple(token_ids))
        response = (await self._rpc.call(ASK_USABLE, self._instances.cm, request)).message
        if response.status_code != 200:
            raise error_of(response.status_code, response.reason_phrase)
        return set(response.token_ids)

    async def _usable_credentials(self, credentials_ids: list[str]) -> set[str]:
        request = UsableCredentialsRequest(
            **request_header(Deadline.after(ASK_TIMEOUT)), credentials_ids=tuple(credentials_ids)
        )
        response = (await self._rpc.call(ASK_USABLE_CREDENTIALS, self._instances.ccm, request)).message
        if response.status_code != 200:
            raise error_of(response.status_code, response.reason_phrase)
        return set(response.credentials_ids)


@asynccontextmanager
async def working(cut_off: CutOff) -> AsyncIterator[None]:
    """Withdrawn tokens are cut off until the context is left."""
    await cut_off.start()
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(cut_off.keep_beating(), name="signs of life")
        try:
            yield
        finally:
            beating.cancel()
            await cut_off.say_goodbye()
