"""What this replica can tell of its connections, and what all replicas can (CSP).

A replica knows the others by their signs of life (COP), and asks each, itself included. Who does not answer in time is
named: of an installation of which a part is away, the answer says so.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from cachetools import TTLCache

from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import KaaError
from kaa_common.messages.cop import REPLICA_ALIVE, REPLICA_LEFT, ReplicaEvent
from kaa_common.messages.csp import (
    ASK_REPLICA_STATUS,
    ASK_SESSIONS,
    EndpointSession,
    ReplicaStatusRequest,
    ReplicaStatusResponse,
    SessionsRequest,
    SessionsResponse,
)
from kaa_common.messages.declared import Endpoint, Request, Response
from kaa_common.rpc import Reply, Rpc, answer_header, request_header
from kpc.client_auth import ClientAuth
from kpc.mqtt_server import MqttServer
from kpc.presence import Presence

ANSWERED_WITHIN = 1.0
"""Seconds for the replicas to answer, all at once."""
REMEMBERED_FOR = 30.0
"""Seconds after the last sign of life of a replica that it is asked; one that was killed is forgotten then."""
MAX_REPLICAS = 1000


@dataclass(frozen=True, slots=True)
class Answers(Generic[Response]):
    """By replica id, and who did not answer."""

    given: dict[str, Response]
    missing: tuple[str, ...]


class Status:
    """`start` before use."""

    def __init__(
        self, rpc: Rpc, kpc_instance: str, server: MqttServer, client_auth: ClientAuth, presence: Presence
    ) -> None:
        self._rpc = rpc
        self._kpc_instance = kpc_instance
        self._server = server
        self._client_auth = client_auth
        self._presence = presence
        self._started_at = now_ms()
        self._replicas: TTLCache[str, bool] = TTLCache(MAX_REPLICAS, REMEMBERED_FOR)

    async def start(self) -> None:
        await self._rpc.serve(ASK_SESSIONS, self._rpc.replica_id, self._tell_sessions)
        await self._rpc.serve(ASK_REPLICA_STATUS, self._rpc.replica_id, self._tell_status)
        await self._rpc.listen(REPLICA_ALIVE, self._kpc_instance, self._seen)
        await self._rpc.listen(REPLICA_LEFT, self._kpc_instance, self._left)

    async def sessions_of(self, endpoint_id: str) -> Answers[SessionsResponse]:
        """The sessions of an endpoint on every replica."""
        return await self._ask_all(
            ASK_SESSIONS, lambda deadline: SessionsRequest(**request_header(deadline), endpoint_id=endpoint_id)
        )

    async def replicas(self) -> Answers[ReplicaStatusResponse]:
        return await self._ask_all(
            ASK_REPLICA_STATUS, lambda deadline: ReplicaStatusRequest(**request_header(deadline))
        )

    async def _ask_all(
        self, endpoint: Endpoint[Request, Response], make: Callable[[Deadline], Request]
    ) -> Answers[Response]:
        deadline = Deadline.after(ANSWERED_WITHIN)

        async def ask(replica_id: str) -> Response | None:
            try:
                answer = (await self._rpc.call(endpoint, replica_id, make(deadline))).message
            except KaaError:
                return None
            return answer if answer.status_code == 200 else None

        names = sorted({self._rpc.replica_id, *self._replicas})
        async with asyncio.TaskGroup() as tasks:
            questions = [tasks.create_task(ask(name), name=f"status of {name}") for name in names]
        answers = {name: question.result() for name, question in zip(names, questions, strict=True)}
        return Answers(
            {name: answer for name, answer in answers.items() if answer is not None},
            tuple(name for name, answer in answers.items() if answer is None),
        )

    async def _tell_sessions(self, request: SessionsRequest) -> Reply[SessionsResponse]:
        sessions = []
        for session in self._presence.sessions_of(request.endpoint_id):
            client = self._client_auth.client_on(session.connection_id)
            if client is None:
                continue
            sessions.append(
                EndpointSession(
                    app_version_name=session.app_version_name,
                    connection_id=session.connection_id,
                    client_id=client.connection.client_id,
                    transport=client.connection.transport_name,
                    address=client.connection.peer,
                    mqtt_version=client.connection.version.name,
                    connected_at=client.since,
                    credentials_ids=tuple(proof.credentials_id for proof in client.proofs),
                )
            )
        return Reply(SessionsResponse(**answer_header(request), sessions=tuple(sessions), status_code=200))

    async def _tell_status(self, request: ReplicaStatusRequest) -> Reply[ReplicaStatusResponse]:
        return Reply(
            ReplicaStatusResponse(
                **answer_header(request),
                started_at=self._started_at,
                connections=Counter(connection.transport_name for connection in self._server.connections),
                endpoints=len(self._presence.held()),
                turned_away=self._server.turned_away,
                status_code=200,
            )
        )

    async def _seen(self, event: ReplicaEvent) -> None:
        self._replicas[event.originator_replica_id] = True

    async def _left(self, event: ReplicaEvent) -> None:
        self._replicas.pop(event.originator_replica_id, None)
