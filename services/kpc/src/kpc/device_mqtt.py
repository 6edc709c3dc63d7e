"""The MQTT binding of 1/KP: a PUBLISH is a request, its answer is published on the same connection.

The answer comes whether or not the client subscribed, on the request's topic + `/status` or `/error`, at the request's
QoS, at most 1. A success without payload to a request without id is not published; an error always is. A SUBSCRIBE
whose filter names a token says, as a PUBLISH does, that its endpoint is here, and can be sent to.

A QoS 1 or 2 message is acknowledged when its fate is known: it was done, or refused for good. When a part of the
platform is out of reach it stays with the client, which is told so on `/error` and may send it again.
"""

import logging
from collections.abc import Collection
from functools import partial

from prometheus_client import Counter, Gauge

from kaa_common.budget import Budget
from kpc.client_auth import ClientAuth
from kpc.clients import Clients
from kpc.connectivity import Connectivity
from kpc.edge import Edge, Outcome, Speaker, refusal
from kpc.kp1 import is_kp1, names_in
from kpc.mqtt.errors import LocalProtocolError
from kpc.mqtt.events import Disconnected
from kpc.mqtt.packets import Connect, Publish, Subscribe
from kpc.mqtt.reasons import DONE, WITHHELD, PublishResult, ReasonCode
from kpc.mqtt_answers import NOT_TEXT, answers, has_its_format, too_large
from kpc.mqtt_connection import Connection
from kpc.presence import Listeners, Session
from kpc.rate_limits import RateExceeded, RateLimit
from kpc.subscribers import Subscribers
from kpc.tokens import Guesser

logger = logging.getLogger(__name__)

CONNECTIONS = Gauge("kpc_mqtt_connections", "MQTT connections")
IGNORED = Counter("kpc_mqtt_ignored", "Messages published outside of kp1/")

CONNECTION_GUESSES, CONNECTION_GUESSES_PER_SECOND = 20, 1.0
"""Wrong tokens on one connection before its tokens that are not known yet have to wait."""
MAX_CONNECTIONS = 20_000
"""Connections whose guesses and rates are remembered: as many as there can be."""
MAX_QOS = 1
REASON_CODES = {
    401: ReasonCode.NOT_AUTHORIZED,
    403: ReasonCode.NOT_AUTHORIZED,
    404: ReasonCode.TOPIC_NAME_INVALID,
    413: ReasonCode.QUOTA_EXCEEDED,
    429: ReasonCode.QUOTA_EXCEEDED,
}
"""What the acknowledgement of a refused message says in MQTT 5."""


class DeviceMqtt:
    """Handles the MQTT connections of devices.

    It is the server's `mqtt_connection.ConnectionHandler`, the `cut_off.Sessions` and the `pushes.Connections`.
    """

    def __init__(
        self,
        edge: Edge,
        connectivity: Connectivity,
        client_auth: ClientAuth,
        *,
        connection_rate: float,
        strict_take_over: bool = False,
    ) -> None:
        """`connection_rate` in messages a second; strict take-over is that of [MQTT-3.1.4-2]."""
        self.clients = Clients()
        self.listeners = Listeners()
        self.subscribers = Subscribers(edge, self._is_here)
        self.connectivity = connectivity
        self._client_auth = client_auth
        self._edge = edge
        self._strict_take_over = strict_take_over
        self._rates = RateLimit("connection", connection_rate, MAX_CONNECTIONS)
        self._guesses = Budget(
            burst=CONNECTION_GUESSES, per_second=CONNECTION_GUESSES_PER_SECOND, max_names=MAX_CONNECTIONS
        )

    # For the server

    async def connected(self, connection: Connection, connect: Connect) -> ReasonCode:
        reason_code = await self._client_auth.connected(connection, connect)
        if reason_code is not ReasonCode.SUCCESS:
            return reason_code
        self.clients.add(connection)
        CONNECTIONS.inc()
        if self._strict_take_over or not self._client_auth.is_anonymous(connection):
            for other in self.clients.others_of(connection):
                if self._strict_take_over or self._client_auth.are_the_same(connection, other):
                    _take_over(other)
        return ReasonCode.SUCCESS

    async def published(self, connection: Connection, publish: Publish) -> PublishResult:
        if not is_kp1(publish.topic):
            IGNORED.inc()
            return PublishResult(reason_code=ReasonCode.NO_MATCHING_SUBSCRIBERS)
        if not has_its_format(publish):
            self._reply(connection, publish, NOT_TEXT)
            return PublishResult(reason_code=ReasonCode.PAYLOAD_FORMAT_INVALID)

        async def identified(speaker: Speaker) -> None:
            await self._is_here(connection, speaker, publish.qos)

        try:
            self._rates.count(str(connection.id))
        except RateExceeded as exc:
            outcome = refusal(exc)
        else:
            guesser = self._guesser(connection)
            outcome = await self._edge.request(
                "mqtt", publish.topic, publish.payload, guesser=guesser, on_identified=identified
            )
        self._reply(connection, publish, outcome)
        self._client_auth.close_refused(connection)
        return result_of(outcome)

    async def subscribed(self, connection: Connection, subscribe: Subscribe) -> None:
        """Messages come without a subscription, so no filter is kept; whoever is named by one is here from now on."""
        filters = [subscription.topic_filter for subscription in subscribe.subscriptions]
        qos = max(subscription.qos for subscription in subscribe.subscriptions)
        for name in names_in(filters, self._edge.extensions):
            try:
                self._rates.count(str(connection.id))
            except RateExceeded:
                logger.debug("%s subscribes to more than it may speak: the rest names nobody", connection)
                return
            await self.subscribers.identify(connection, name, self._guesser(connection), qos)
            self._client_auth.close_refused(connection)

    async def disconnected(self, connection: Connection, disconnected: Disconnected) -> None:
        self.clients.remove(connection)
        self._client_auth.disconnected(connection)
        CONNECTIONS.dec()
        self.listeners.connection_ended(connection.id)
        await self.connectivity.connection_ended(connection.id)

    # For the cut-off

    def session_tokens(self) -> Collection[tuple[str, str]]:
        return self.connectivity.presence.tokens()

    async def end_sessions(self, endpoint_id: str, token_ids: Collection[str]) -> int:
        return await self.connectivity.revoked(endpoint_id, token_ids)

    # For the pushes

    def send(self, connection_id: int, topic: str, payload: bytes, qos: int) -> bool:
        connection = self.clients.connections.get(connection_id)
        try:
            return connection is not None and connection.publish(topic, payload, min(qos, MAX_QOS))
        except LocalProtocolError as exc:
            logger.warning("%s cannot be sent a message: %s", connection, exc)
            return False

    # How it is done

    def _guesser(self, connection: Connection) -> Guesser:
        return Guesser(self._guesses, str(connection.id), partial(self._client_auth.check, connection))

    async def _is_here(self, connection: Connection, speaker: Speaker, qos: int) -> None:
        """Who speaks is reached on this connection from now on."""
        name, app_version, identity = speaker.name, speaker.app_version, speaker.identity
        if identity is None or name.token is None:
            self.listeners.heard(name.app_version_name, name.extension, connection.id, qos)
            return
        session = Session(
            connection_id=connection.id,
            app_version_name=name.app_version_name,
            tenant_id=app_version.tenant_id,
            app_name=app_version.app_name,
            token=name.token,
            token_id=identity.token_id,
            qos=qos,
        )
        change = await self.connectivity.identified(identity.endpoint_id, session)
        for other in self.clients.others_among(change.other_connections, connection):
            _take_over(other)

    def _reply(self, connection: Connection, publish: Publish, outcome: Outcome) -> None:
        for answer in answers(publish, outcome, connection.version):
            if connection.publish(answer.topic, answer.payload, min(publish.qos, MAX_QOS), answer.properties):
                self._edge.sent(outcome, len(answer.payload))
            elif connection.is_open and outcome.is_success:
                self._reply(connection, publish, too_large(outcome))
                return
            elif connection.is_open:
                connection.close("takes no packet as large as an answer", ReasonCode.PACKET_TOO_LARGE)


def _take_over(left_behind: Connection) -> None:
    left_behind.close("the client came back on another connection", ReasonCode.SESSION_TAKEN_OVER)


def result_of(outcome: Outcome) -> PublishResult:
    """What the acknowledgement of a message says."""
    if outcome.is_success:
        return DONE
    if outcome.status_code >= 500:
        return WITHHELD
    reason_code = REASON_CODES.get(outcome.status_code, ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)
    return PublishResult(reason_code=reason_code, reason_string=outcome.reason_phrase)
