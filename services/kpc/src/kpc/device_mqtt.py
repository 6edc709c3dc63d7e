"""The MQTT binding of 1/KP: a PUBLISH is a request, its answer is published on the same connection.

The answer comes whether or not the client subscribed, on the request's topic + `/status` or `/error`, at the request's
QoS, at most 1. A success without payload to a request without id is not published; an error always is.

A QoS 1 or 2 message is acknowledged when its fate is known: it was done, or refused for good. When a part of the
platform is out of reach it stays with the client, which is told so on `/error` and may send it again.
"""

import logging
from collections.abc import Collection, Mapping

from prometheus_client import Counter, Gauge

from kaa_common.app_versions import AppVersion
from kaa_common.budget import Budget
from kaa_common.errors import Unavailable
from kaa_common.messages.elce import CONNECTED, DISCONNECTED, ConnectedEvent, DisconnectedEvent
from kaa_common.rpc import Rpc, event_header
from kpc.edge import Edge, Outcome
from kpc.kp1 import ERROR, STATUS, error_payload, is_kp1
from kpc.mqtt.events import Disconnected
from kpc.mqtt.packets import Connect, Publish, Subscribe
from kpc.mqtt.reasons import DONE, WITHHELD, PublishResult, ReasonCode
from kpc.mqtt_connection import Connection
from kpc.presence import Change, Presence, Session
from kpc.tokens import Guesser, Identity

logger = logging.getLogger(__name__)

CONNECTIONS = Gauge("kpc_mqtt_connections", "MQTT connections")
IGNORED = Counter("kpc_mqtt_ignored", "Messages published outside of kp1/")

CONNECTION_GUESSES, CONNECTION_GUESSES_PER_SECOND = 20, 1.0
"""Wrong tokens on one connection before its tokens that are not known yet have to wait."""
MAX_GUESSING_CONNECTIONS = 20_000
"""As many as there can be connections."""
MAX_REPLY_QOS = 1
MAX_ANSWERED_TOPIC = 8192
"""Characters: with its suffix the topic of an answer must fit into MQTT's 65,535 bytes."""


class DeviceMqtt:
    """Handles the MQTT connections of devices (`mqtt_connection.ConnectionHandler`, `cut_off.Sessions`)."""

    def __init__(self, edge: Edge, rpc: Rpc, kpc_instance: str) -> None:
        self._edge = edge
        self._rpc = rpc
        self._kpc_instance = kpc_instance
        self._presence = Presence()
        self._connections: dict[int, Connection] = {}
        self._guesses = Budget(
            burst=CONNECTION_GUESSES, per_second=CONNECTION_GUESSES_PER_SECOND, max_names=MAX_GUESSING_CONNECTIONS
        )

    async def connected(self, connection: Connection, connect: Connect) -> ReasonCode:
        self._connections[connection.id] = connection
        CONNECTIONS.inc()
        return ReasonCode.SUCCESS

    async def published(self, connection: Connection, publish: Publish) -> PublishResult:
        if not is_kp1(publish.topic):
            IGNORED.inc()
            return PublishResult(reason_code=ReasonCode.NO_MATCHING_SUBSCRIBERS)

        async def identified(identity: Identity, app_version: AppVersion) -> None:
            session = Session(connection.id, app_version.name, identity.token_id)
            change = self._presence.identified(identity.endpoint_id, session)
            self._close_replaced(change, connection)
            await self._announce(change)

        guesser = Guesser(self._guesses, str(connection.id))
        outcome = await self._edge.request(
            "mqtt", publish.topic, publish.payload, guesser=guesser, on_identified=identified
        )
        _reply(connection, publish, outcome)
        return DONE if outcome.status_code < 500 else WITHHELD

    async def subscribed(self, connection: Connection, subscribe: Subscribe) -> None:
        """Answers come to a connection without a subscription, so there is nothing to keep."""

    async def disconnected(self, connection: Connection, disconnected: Disconnected) -> None:
        del self._connections[connection.id]
        CONNECTIONS.dec()
        await self._announce(self._presence.connection_ended(connection.id))

    def session_tokens(self) -> Mapping[str, str]:
        return self._presence.tokens()

    async def end_sessions(self, endpoint_id: str, token_ids: Collection[str]) -> int:
        change = self._presence.revoked(endpoint_id, token_ids)
        await self._announce(change)
        return len(change.disconnected)

    def _close_replaced(self, change: Change, connection: Connection) -> None:
        """Close the connection that a device left behind: the same client, seen by the same endpoint, came back."""
        left = self._connections.get(change.left_connection) if change.left_connection is not None else None
        if left is not None and left.client_id and left.client_id == connection.client_id:
            left.close("the client came back on another connection", ReasonCode.SESSION_TAKEN_OVER)

    async def _announce(self, change: Change) -> None:
        try:
            if change.disconnected:
                gone = DisconnectedEvent(
                    **event_header(), endpoints=change.disconnected, originator_replica_id=self._rpc.replica_id
                )
                await self._rpc.emit(DISCONNECTED, self._kpc_instance, gone)
            if change.connected:
                came = ConnectedEvent(
                    **event_header(), endpoints=change.connected, originator_replica_id=self._rpc.replica_id
                )
                await self._rpc.emit(CONNECTED, self._kpc_instance, came)
        except Unavailable as exc:
            logger.warning("connectivity of %d endpoints was not announced: %s", len(change.connected), exc)


def _reply(connection: Connection, publish: Publish, outcome: Outcome) -> None:
    qos = min(publish.qos, MAX_REPLY_QOS)
    if len(publish.topic) > MAX_ANSWERED_TOPIC:
        return
    if not outcome.is_success:
        payload = error_payload(outcome.status_code, outcome.reason_phrase)
        connection.publish(publish.topic + ERROR, payload, qos)
    elif outcome.has_request_id or outcome.payload:
        connection.publish(publish.topic + STATUS, outcome.payload, qos)
