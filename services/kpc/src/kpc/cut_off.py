"""A withdrawn token ends here at once, which is confirmed to the credentials service (COP); and what if it cannot.

Again and again this replica gives a sign of life and sees whether the bus carries it. What is kept about tokens is
believed only for a short while after the last time it did: a replica that was frozen or cut off has to ask again. When
it is back it asks which tokens of its sessions are still usable, as it may have missed that one was withdrawn.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from cachetools import TTLCache

from kaa_common.clock import Deadline
from kaa_common.errors import KaaError, Unavailable, error_of
from kaa_common.messages.cop import (
    ASK_USABLE,
    CUT_OFF,
    REPLICA_ALIVE,
    REPLICA_LEFT,
    CutOffRequest,
    CutOffResponse,
    ReplicaEvent,
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
"""Endpoints, and seconds, for which it is remembered how many sessions were ended; the question comes within one."""
ASK_TIMEOUT = 4.0
ASKED_AT_ONCE = 1000
"""Tokens in one request: well below what a message may hold."""


class Sessions(Protocol):
    """The sessions of endpoints on this replica: `device_mqtt.DeviceMqtt`."""

    def session_tokens(self) -> Collection[tuple[str, str]]:
        """Endpoint id and token id of each session."""

    async def end_sessions(self, endpoint_id: str, token_ids: Collection[str]) -> int:
        """End the sessions of the endpoint that use one of these tokens; how many there were."""


class CutOff:
    def __init__(self, rpc: Rpc, tokens: Tokens, sessions: Sessions, kpc_instance: str, cm_instance: str) -> None:
        self._rpc = rpc
        self._tokens = tokens
        self._sessions = sessions
        self._kpc_instance = kpc_instance
        self._cm_instance = cm_instance
        self._was_away = False
        # The event may come before the question: what it ended is still part of the answer.
        self._ended: TTLCache[str, int] = TTLCache(MAX_ENDED, ENDED_FOR)
        rpc.bus.on_connection_lost(self._may_have_missed_something)

    async def start(self) -> None:
        await self._rpc.serve(CUT_OFF, self._rpc.replica_id, self._confirm)
        await self._rpc.listen(TOKEN_REVOKED, self._cm_instance, self._revoked)

    async def keep_beating(self) -> None:
        """Give signs of life for as long as this replica works."""
        while True:
            with suppress(KaaError):
                await self.beat()
            await asyncio.sleep(BEAT_INTERVAL)

    async def beat(self) -> None:
        """One sign of life. Raises KaaError when the bus or the credentials service cannot be asked."""
        asked_at = self._tokens.clock()
        await self._rpc.emit(REPLICA_ALIVE, self._kpc_instance, self._sign())
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
            await self._rpc.emit(REPLICA_LEFT, self._kpc_instance, self._sign())

    def _sign(self) -> ReplicaEvent:
        return ReplicaEvent(**event_header(), originator_replica_id=self._rpc.replica_id)

    def _may_have_missed_something(self) -> None:
        self._was_away = True
        self._tokens.forget()

    async def _revoked(self, event: EndpointTokenRevokedEvent) -> None:
        await self._end(event.endpoint_id, event.token_ids)

    async def _confirm(self, request: CutOffRequest) -> Reply[CutOffResponse]:
        ended = 0
        if request.endpoint_id is not None:
            await self._end(request.endpoint_id, request.token_ids)
            ended = self._ended.pop(request.endpoint_id, 0)
        return Reply(CutOffResponse(**answer_header(request), ended_sessions=ended, status_code=200))

    async def _end(self, endpoint_id: str, token_ids: Collection[str]) -> None:
        self._tokens.revoke(token_ids)
        ended = await self._sessions.end_sessions(endpoint_id, token_ids)
        if ended:
            self._ended[endpoint_id] = self._ended.get(endpoint_id, 0) + ended

    async def _check_sessions(self) -> None:
        """End the sessions whose tokens were withdrawn while nobody could say so here."""
        sessions = list(self._sessions.session_tokens())
        for first in range(0, len(sessions), ASKED_AT_ONCE):
            some = sessions[first : first + ASKED_AT_ONCE]
            usable = await self._usable({token_id for _, token_id in some})
            for endpoint_id, token_id in some:
                if token_id not in usable:
                    await self._end(endpoint_id, [token_id])

    async def _usable(self, token_ids: set[str]) -> set[str]:
        request = UsableRequest(**request_header(Deadline.after(ASK_TIMEOUT)), token_ids=tuple(token_ids))
        response = (await self._rpc.call(ASK_USABLE, self._cm_instance, request)).message
        if response.status_code != 200:
            raise error_of(response.status_code, response.reason_phrase)
        return set(response.token_ids)


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
