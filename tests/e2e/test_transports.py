"""Devices over TLS and WebSocket, with and without credentials, with the client libraries of the field.

The store makes no difference to a connection, so one of them is enough. A test that has the tenant require something
takes it back at the end.
"""

import json
import queue
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from .conftest import PATIENCE, Endpoint, Platform

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

Transport = Literal["tcp", "tls", "ws"]
TRANSPORTS: tuple[Transport, ...] = ("tcp", "tls", "ws")
V31, V311, V5 = MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
TENANT = "default"


class PahoDevice:
    """A paho client that never subscribes. What happens to it waits in queues."""

    def __init__(self, platform: Platform, transport: Transport, protocol: MQTTProtocolVersion = V311) -> None:
        kind: Literal["tcp", "websockets"] = "websockets" if transport == "ws" else "tcp"
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "device", protocol=protocol, transport=kind)
        self.port = platform.stack.mqtt_port
        if transport == "ws":
            self.client.ws_set_options("/ws")
            self.port = platform.stack.http_port
        elif transport == "tls":
            self.port = platform.stack.tls_port
        self._platform = platform
        self._is_tls = transport == "tls"
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.connected: queue.Queue[ReasonCode] = queue.Queue()
        self.ended: queue.Queue[ReasonCode] = queue.Queue()
        self.client.on_message = lambda client, userdata, message: self.messages.put(
            (message.topic, bytes(message.payload))
        )
        self.client.on_connect = lambda client, userdata, flags, reason, properties: self.connected.put(reason)
        self.client.on_disconnect = lambda client, userdata, flags, reason, properties: self.ended.put(reason)

    def connect(self, chain: Path | None = None, key: Path | None = None) -> str:
        """How the platform answers."""
        if self._is_tls:
            ca_file = str(self._platform.stack.ca_file)
            self.client.tls_set(ca_file, str(chain) if chain else None, str(key) if key else None)
        # Not again and again by itself: a test says when.
        self.client.reconnect_delay_set(60, 60)
        self.client.connect("127.0.0.1", self.port, keepalive=60)
        self.client.loop_start()
        return str(self.connected.get(timeout=PATIENCE))

    def ask(self, endpoint: Endpoint, request: str = "/get/1", payload: bytes = b"") -> tuple[str, bytes]:
        """The last level of the answer's topic, and its payload."""
        topic = endpoint.path(request)
        self.client.publish(topic, payload, qos=1)
        answered, answer = self.messages.get(timeout=PATIENCE)
        assert answered.startswith(f"{topic}/")
        return answered.removeprefix(f"{topic}/"), answer

    def wait_ended(self) -> str:
        return str(self.ended.get(timeout=PATIENCE))


@contextmanager
def paho_device(platform: Platform, transport: Transport, protocol: MQTTProtocolVersion = V311) -> Iterator[PahoDevice]:
    device = PahoDevice(platform, transport, protocol)
    try:
        yield device
    finally:
        device.client.disconnect()
        device.client.loop_stop()


@contextmanager
def requiring(platform: Platform, **transports: dict[str, bool]) -> Iterator[None]:
    """The tenant requires these of its clients meanwhile."""
    config = {
        transport: {f"{kind}-auth": {"required": required} for kind, required in required_of.items()}
        for transport, required_of in transports.items()
    }
    configure(platform, {"transports": {"mqtt": config}})
    try:
        yield
    finally:
        configure(platform, None)
        deadline = time.monotonic() + PATIENCE
        while not all(lets_in(platform, transport) for transport in TRANSPORTS):  # until kpc has heard of it
            assert time.monotonic() < deadline


def lets_in(platform: Platform, transport: Transport) -> bool:
    """Whether an anonymous client may connect."""
    with paho_device(platform, transport) as device:
        return device.connect() == "Success"


def configure(platform: Platform, config: dict[str, Any] | None) -> None:
    body = {"kpc": {"kaa": {"tenants": {TENANT: {"config": config}}}}}
    platform.rest.put("/tekton/api/v1/tenant-configs", json=body).raise_for_status()


def new_basic(platform: Platform) -> dict[str, Any]:
    created: dict[str, Any] = platform.rest.post("/ccm/api/v1/basic-credentials", json={}).raise_for_status().json()
    return created


def new_certificate(platform: Platform, directory: Path) -> tuple[dict[str, Any], Path, Path]:
    """The answer, and the files of the chain and the key."""
    issued: dict[str, Any] = platform.rest.post("/ccm/api/v1/x509-credentials", json={}).raise_for_status().json()
    chain, key = directory / f"{issued['id']}.pem", directory / f"{issued['id']}.key"
    chain.write_text(issued["certificateChain"])
    key.write_text(issued["privateKey"])
    return issued, chain, key


def move(platform: Platform, kind: str, credentials_id: str, status: str) -> dict[str, Any]:
    """The receipt of the cut-off, if there is one."""
    path = f"/ccm/api/v1/{kind}-credentials/{credentials_id}/status"
    changed = platform.rest.put(path, json={"status": status}).raise_for_status().json()
    receipt: dict[str, Any] = changed.get("cutOff", {})
    return receipt


def ended_sessions(receipt: dict[str, Any]) -> int:
    assert receipt["pending"] == []
    return sum(confirmation["endedSessions"] for confirmation in receipt["confirmed"])


@pytest.mark.parametrize("transport", ["tls", "ws"])
def test_a_payload_near_the_limit_comes_and_goes(platform: Platform, transport: Transport) -> None:
    endpoint = platform.register()
    document = json.dumps({"text": "x" * 200_000}, separators=(",", ":")).encode()
    with paho_device(platform, transport) as device:
        assert device.connect() == "Success"
        assert device.ask(endpoint, "/update/1", document) == ("status", b"")
        assert device.ask(endpoint, "/get/2") == ("status", document)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_connects_with_a_certificate_that_was_issued_here(
    platform: Platform, tmp_path: Path, version: str
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl on this machine")
    _, chain, key = new_certificate(platform, tmp_path)
    command = [openssl, "s_client", "-connect", f"127.0.0.1:{platform.stack.tls_port}", version, "-quiet"]
    command += ["-CAfile", str(platform.stack.ca_file), "-verify_return_error"]
    command += ["-cert", str(chain), "-cert_chain", str(chain), "-key", str(key)]
    connect, disconnect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", b"\xe0\x00"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(connect)
        client.stdin.flush()
        assert client.stdout.read(4) == b"\x20\x02\x00\x00"
        client.stdin.write(disconnect)
        client.stdin.flush()
        _, log = client.communicate(timeout=PATIENCE)
    assert b"verify return:1" in log


def test_a_suspended_certificate_ends_its_connection_and_does_not_connect_until_it_is_active(
    platform: Platform, tmp_path: Path
) -> None:
    endpoint = platform.register()
    issued, chain, key = new_certificate(platform, tmp_path)
    _, other_chain, other_key = new_certificate(platform, tmp_path)
    with paho_device(platform, "tls", V5) as device, paho_device(platform, "tls") as other:
        assert device.connect(chain, key) == "Success"
        assert other.connect(other_chain, other_key) == "Success"
        assert device.ask(endpoint)[0] == "status"

        assert ended_sessions(move(platform, "x509", issued["id"], "Suspended")) == 1
        assert device.wait_ended() == "Not authorized"
        with paho_device(platform, "tls") as again:
            assert again.connect(chain, key) == "Not authorized"
        assert other.ask(endpoint)[0] == "status"

        move(platform, "x509", issued["id"], "Active")
        with paho_device(platform, "tls") as again:
            assert again.connect(chain, key) == "Success"
            assert again.ask(endpoint)[0] == "status"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_withdrawn_basic_credentials_end_their_connections(platform: Platform, transport: Transport) -> None:
    endpoint = platform.register()
    created = new_basic(platform)
    username = f"{created['username']}@{TENANT}"
    with paho_device(platform, transport) as device, paho_device(platform, transport) as wrong:
        device.client.username_pw_set(username, created["password"])
        wrong.client.username_pw_set(username, "wrong password")
        assert device.connect() == "Success"
        assert device.ask(endpoint)[0] == "status"
        assert wrong.connect() == "Bad user name or password"

        assert ended_sessions(move(platform, "basic", created["id"], "Revoked")) == 1
        device.wait_ended()
        with paho_device(platform, transport) as again:
            again.client.username_pw_set(username, created["password"])
            assert again.connect() == "Not authorized"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_anonymous_clients_end_when_a_password_is_required_of_their_transport(
    platform: Platform, transport: Transport
) -> None:
    endpoint = platform.register()
    created = new_basic(platform)
    other_transport: Transport = "tls" if transport == "tcp" else "tcp"
    with (
        paho_device(platform, transport) as known,
        paho_device(platform, transport) as anonymous,
        paho_device(platform, other_transport) as elsewhere,
    ):
        known.client.username_pw_set(f"{created['username']}@{TENANT}", created["password"])
        assert [known.connect(), anonymous.connect(), elsewhere.connect()] == ["Success"] * 3
        assert anonymous.ask(endpoint)[0] == "status"
        with requiring(platform, **{transport: {"basic": True}}):
            anonymous.wait_ended()
            with paho_device(platform, transport, V5) as again:
                assert again.connect() == "Not authorized"
            assert known.ask(endpoint)[0] == "status"
            assert elsewhere.ask(endpoint)[0] == "status"
            assert platform.rest.post(f"/{endpoint.path('/get')}").status_code == 200
        with paho_device(platform, transport) as again:
            assert again.connect() == "Success"


def test_a_client_without_a_required_certificate_is_closed_at_its_first_message(
    platform: Platform, tmp_path: Path
) -> None:
    endpoint = platform.register()
    _, chain, key = new_certificate(platform, tmp_path)
    with paho_device(platform, "tls") as active, paho_device(platform, "tls") as certified:
        assert active.connect() == "Success"
        assert active.ask(endpoint)[0] == "status"
        with requiring(platform, tls={"x509": True}):
            active.wait_ended()
            with paho_device(platform, "tls", V5) as device:
                assert device.connect() == "Success"
                suffix, error = device.ask(endpoint)
                assert (suffix, json.loads(error)["statusCode"]) == ("error", 403)
                assert device.wait_ended() == "Not authorized"
            assert certified.connect(chain, key) == "Success"
            assert certified.ask(endpoint)[0] == "status"
            with paho_device(platform, "tcp") as plain:
                assert plain.connect() == "Success"
                assert plain.ask(endpoint)[0] == "status"


def test_the_root_certificate_of_the_platform_is_what_tls_clients_may_trust(platform: Platform, tmp_path: Path) -> None:
    for path in ("/kpc/api/v1/root-certificate", "/kpc/api/v1/plugins/transports/mqtt/tls/support/certificates"):
        answer = httpx.get(f"{platform.stack.http_url}{path}", trust_env=False)
        assert answer.status_code == 200
        context = ssl.create_default_context(cadata=answer.text)
        with (
            socket.create_connection(("127.0.0.1", platform.stack.tls_port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            assert client.version() == "TLSv1.3"
