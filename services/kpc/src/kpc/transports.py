"""The transports that devices come by, as the settings say: MQTT over TCP, TLS and WebSocket, 1/KP over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kaa_common.http_server import Gateway
from kpc.certificates import Certificates
from kpc.mqtt_connection import ConnectionHandler
from kpc.mqtt_listeners import Listener, TcpListener, TlsListener
from kpc.mqtt_server import MqttServer
from kpc.server_limits import ServerLimits
from kpc.settings import KpcSettings
from kpc.websocket import MqttOverWebSocket

WEBSOCKET_PATH = "/ws"


def load_certificates(settings: KpcSettings) -> Certificates | None:
    """What TLS clients are met with, if there is TLS. Raises StartError when its files cannot be used."""
    if not settings.tls_enabled or settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file)


@asynccontextmanager
async def serving_mqtt(
    settings: KpcSettings, handler: ConnectionHandler, certificates: Certificates | None, gateway: Gateway
) -> AsyncIterator[MqttServer]:
    """MQTT is served until the context is left. Raises StartError when a port is taken."""
    listeners: list[Listener] = []
    if settings.mqtt_enabled:
        listeners.append(TcpListener(settings.mqtt_host, settings.mqtt_port))
    if certificates is not None:
        listeners.append(TlsListener(settings.tls_host, settings.tls_port, certificates))
    limits = ServerLimits(
        max_connections=settings.max_connections, max_connections_per_address=settings.max_connections_per_address
    )
    async with asyncio.TaskGroup() as tasks, MqttServer(handler, listeners, limits=limits) as server:
        following = None
        if certificates is not None:
            following = tasks.create_task(certificates.keep_fresh(), name="tls files")
        if settings.ws_enabled:
            gateway.mount_websocket(WEBSOCKET_PATH, MqttOverWebSocket(server))
        try:
            yield server
        finally:
            if settings.ws_enabled:
                gateway.unmount_websocket(WEBSOCKET_PATH)
            if following is not None:
                following.cancel()
