"""The REST interface below `/kpc/api/v1`: the certificate that TLS clients may trust, sessions, and replicas."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from kaa_common.clock import iso_timestamp
from kaa_common.errors import NotFound
from kaa_common.messages.csp import EndpointSession, ReplicaStatusResponse
from kaa_common.rest import Body, PublicRoute, StrictRoute, errors, requires
from kpc.certificates import Certificates
from kpc.status import Status

READ_ENDPOINT = "endpoint:read"
READ_REPLICAS = "kaa:communication:read"
CERTIFICATE_PATHS = ("/root-certificate", "/plugins/transports/mqtt/tls/support/certificates")
"""Ours, and the one that Kaa's dashboard asks."""
PEM = "application/x-pem-file"
PEM_ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {PEM: {"schema": {"type": "string"}}}}}

ReplicaId = Annotated[str, Field(examples=["kpc-4f0a2d1c9b7e"])]
Missing = Annotated[list[str], Field(description="Replicas that did not answer within a second.", examples=[[]])]
Timestamp = Annotated[str, Field(examples=["2017-03-17T11:30:02.643Z"])]


class SessionBody(Body):
    """An endpoint on a connection."""

    replica_id: ReplicaId
    connection_id: Annotated[int, Field(examples=[42])]
    app_version_name: Annotated[str, Field(examples=["weather-v1"])]
    client_id: Annotated[str, Field(examples=["station-7"])]
    transport: Annotated[str, Field(examples=["tls"], json_schema_extra={"enum": ["tcp", "tls", "ws"]})]
    address: Annotated[str, Field(description="Of the client, or of a proxy.", examples=["192.0.2.7:51423"])]
    mqtt_version: Annotated[str, Field(examples=["3.1.1"])]
    connected_date: Timestamp
    credentials_ids: Annotated[list[str], Field(description="Those that the client connected with.", examples=[[]])]

    @classmethod
    def of(cls, replica_id: str, session: EndpointSession) -> "SessionBody":
        return cls(
            replica_id=replica_id,
            connection_id=session.connection_id,
            app_version_name=session.app_version_name,
            client_id=session.client_id,
            transport=session.transport,
            address=session.address,
            mqtt_version=session.mqtt_version,
            connected_date=iso_timestamp(session.connected_at),
            credentials_ids=list(session.credentials_ids),
        )


class SessionsBody(Body):
    content: list[SessionBody]
    missing: Missing


class ReplicaBody(Body):
    replica_id: ReplicaId
    started_date: Timestamp
    connections: Annotated[dict[str, int], Field(description="By transport.", examples=[{"tcp": 120, "tls": 7}])]
    endpoints: Annotated[int, Field(description="Connected ones that the replica holds.", examples=[131])]
    turned_away: Annotated[int, Field(description="Clients over a limit, since the start.", examples=[0])]

    @classmethod
    def of(cls, replica_id: str, status: ReplicaStatusResponse) -> "ReplicaBody":
        return cls(
            replica_id=replica_id,
            started_date=iso_timestamp(status.started_at),
            connections=dict(status.connections),
            endpoints=status.endpoints,
            turned_away=status.turned_away,
        )


class ReplicasBody(Body):
    content: list[ReplicaBody]
    missing: Missing


class RestApi:
    """The handlers of the routes."""

    def __init__(self, status: Status, certificates: Certificates | None) -> None:
        self._status = status
        self._certificates = certificates

    def router(self) -> APIRouter:
        router = APIRouter(route_class=StrictRoute)
        for path in CERTIFICATE_PATHS:
            router.add_api_route(
                path,
                self.get_certificate,
                methods=["GET"],
                response_model=None,
                responses={**PEM_ANSWER, **errors(404)},
                route_class_override=PublicRoute,
            )
        router.add_api_route(
            "/endpoints/{endpoint_id}/sessions",
            self.get_sessions,
            methods=["GET"],
            dependencies=[requires(READ_ENDPOINT)],
            response_model=SessionsBody,
            responses=errors(404),
        )
        router.add_api_route(
            "/replicas",
            self.get_replicas,
            methods=["GET"],
            dependencies=[requires(READ_REPLICAS)],
            response_model=ReplicasBody,
        )
        return router

    async def get_certificate(self) -> Response:
        """Download what clients that connect over TLS may trust (PEM): the server's certificate and its authorities.

        Needs neither an API key nor a token.
        """
        if self._certificates is None:
            raise NotFound("MQTT over TLS is not enabled")
        headers = {"Content-Disposition": 'attachment; filename="root.pem"'}
        return Response(self._certificates.chain, media_type=PEM, headers=headers)

    async def get_sessions(self, endpoint_id: str) -> SessionsBody:
        """The live sessions of an endpoint: through which connections of which replicas it is reached."""
        answers = await self._status.sessions_of(endpoint_id)
        sessions = [
            SessionBody.of(replica_id, session)
            for replica_id, answer in answers.given.items()
            for session in answer.sessions
        ]
        return SessionsBody(content=sessions, missing=list(answers.missing))

    async def get_replicas(self) -> ReplicasBody:
        """The communication replicas, and how much each carries."""
        answers = await self._status.replicas()
        replicas = [ReplicaBody.of(replica_id, status) for replica_id, status in answers.given.items()]
        return ReplicasBody(content=replicas, missing=list(answers.missing))


class KpcPaths:
    """What is below `/kpc`: the REST interface, and devices, as Kaa's cloud has them behind its ingress."""

    def __init__(self, rest: ASGIApp, devices: ASGIApp) -> None:
        self._rest = rest
        self._devices = devices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._rest if scope["path"].startswith("/kpc/api/") else self._devices
        await app(scope, receive, send)
