"""What an extension sends of its own accord: ExtensionData that answers no request (4/ESP).

It goes to every connection of the endpoint, on the topic that a request of that connection would have had, with its own
token; for an endpoint-unaware extension to every connection on which it was addressed. An extension sends it to the
replica that it knows, or to all: the one that holds the endpoint delivers. What comes to a replica that does not hold
it any more is passed on to all.
"""

import logging
from typing import Protocol

from prometheus_client import Counter

from kaa_common import log
from kaa_common.avro import DecodeError, decode
from kaa_common.bus import BusMessage
from kaa_common.clock import Deadline
from kaa_common.messages.esp import CLIENT_DATA, ExtensionData
from kaa_common.rpc import LONGEST_HANDLING, Rpc
from kaa_common.subjects import service_subject
from kpc.kp1 import ERROR, MAX_PATH, STATUS, Name, error_payload, push_topic
from kpc.presence import Listeners, Presence
from kpc.traffic import Traffic

logger = logging.getLogger(__name__)

PUSHES = Counter("kpc_pushes", "Messages that extensions sent of their own accord, by what became of them", ["fate"])


class Connections(Protocol):
    """The MQTT connections of this replica: `device_mqtt.DeviceMqtt`."""

    def send(self, connection_id: int, topic: str, payload: bytes, qos: int) -> bool:
        """Publish on a connection; False when it is gone, or its client cannot take it."""


class Pushes:
    def __init__(
        self,
        rpc: Rpc,
        kpc_instance: str,
        connections: Connections,
        presence: Presence,
        listeners: Listeners,
        traffic: Traffic,
    ) -> None:
        self._rpc = rpc
        self._subject = service_subject(kpc_instance, CLIENT_DATA.protocol, CLIENT_DATA.response_type)
        self._connections = connections
        self._presence = presence
        self._listeners = listeners
        self._traffic = traffic

    async def start(self) -> None:
        """From now on pushes are delivered."""
        self._rpc.take_unasked(CLIENT_DATA, self._to_this_replica)
        # Not shared with other replicas: each looks for the endpoint.
        await self._rpc.bus.subscribe(self._subject, self._to_all_replicas)

    async def _to_this_replica(self, message: BusMessage) -> None:
        if not self._deliver(message):
            PUSHES.labels("passed on").inc()
            await self._rpc.bus.publish(self._subject, message.data)

    async def _to_all_replicas(self, message: BusMessage) -> None:
        if not self._deliver(message):
            PUSHES.labels("not here").inc()

    def _deliver(self, message: BusMessage) -> bool:
        """False when it is for somebody who is not here."""
        try:
            push = decode(ExtensionData, message.data)
            log.correlation_id.set(push.correlation_id)
            _check(push)
            return self._send(push)
        except (DecodeError, ValueError) as exc:
            PUSHES.labels("refused").inc()
            logger.warning("ignored a message on %s: %s", message.subject, exc)
            return True

    def _send(self, push: ExtensionData) -> bool:
        extension = push.extension_instance_name or ""
        suffix, payload = STATUS, push.payload or b""
        if not 200 <= push.status_code < 300:
            suffix, payload = ERROR, error_payload(push.status_code, push.reason_phrase or "")
        reached = []
        if push.endpoint_id is None:
            app_version_name = push.app_version_name or ""
            topic = push_topic(Name(app_version_name, extension, None), push.resource_path, push.request_id) + suffix
            for connection_id, qos in self._listeners.of(app_version_name, extension).items():
                reached.append(self._connections.send(connection_id, topic, payload, qos))
        else:
            for session in self._presence.routes(push.endpoint_id):
                name = Name(push.app_version_name or session.app_version_name, extension, session.token)
                topic = push_topic(name, push.resource_path, push.request_id) + suffix
                reached.append(self._connections.send(session.connection_id, topic, payload, session.qos))
                if reached[-1]:
                    self._traffic.sent(session.tenant_id, session.app_name, push.endpoint_id, len(payload))
        if reached:
            PUSHES.labels("delivered" if any(reached) else "not taken").inc()
        return bool(reached)


def _check(push: ExtensionData) -> None:
    """Raises ValueError when it cannot be delivered to anybody."""
    if not push.extension_instance_name:
        raise ValueError("a message without the name of its extension")
    if push.endpoint_id is None and not push.app_version_name:
        raise ValueError("a message that names neither an endpoint nor an application version")
    if not 200 <= push.status_code < 600:
        raise ValueError(f"a message with the status code {push.status_code}")
    path = push.resource_path
    if not path.startswith("/") or len(path) > MAX_PATH or any(character in path for character in "+#\0"):
        raise ValueError("a message whose resource path is none")
    if Deadline.of(push.timestamp, push.timeout, longest=LONGEST_HANDLING).expired:
        raise ValueError("a message that has expired")
