"""TLS clients, well-behaved and not, on real sockets; and what they and TCP clients share: the limits."""

import asyncio
import logging
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kaa_common.errors import StartError
from kpc.certificates import Certificates
from kpc.mqtt_listeners import FAILED_HANDSHAKES, Listener, TcpListener, TlsListener
from kpc.mqtt_server import MqttServer
from kpc.server_limits import ServerLimits
from support.certificates import KeyPair, make_certificate
from support.waiting import until

from .echo import ACCEPTED, CONNECT, ECHO, PINGREQ, PINGRESP, PUBLISH, EchoHandler

PATIENCE = 10.0


@pytest.fixture(scope="module")
def authority() -> KeyPair:
    return make_certificate("authority", is_authority=True)


@pytest.fixture
def certificates(tmp_path: Path, authority: KeyPair) -> Certificates:
    certificate_file, key_file = make_certificate("server", authority).write(tmp_path, "server")
    certificates = Certificates(certificate_file, key_file)
    certificates.trust(authority.pem)
    return certificates


@pytest.fixture
def handler() -> EchoHandler:
    return EchoHandler()


@asynccontextmanager
async def tls_server(
    handler: EchoHandler,
    certificates: Certificates,
    *,
    handshake_timeout: float = 10.0,
    limits: ServerLimits | None = None,
) -> AsyncIterator[MqttServer]:
    listeners: list[Listener] = [
        TlsListener("127.0.0.1", 0, certificates, handshake_timeout=handshake_timeout),
        TcpListener("127.0.0.1", 0),
    ]
    async with MqttServer(handler, listeners, limits=limits or ServerLimits()) as server:
        yield server


def trusting(authority: KeyPair, own: KeyPair | None = None, directory: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem)
    if own is not None and directory is not None:
        context.load_cert_chain(*own.write(directory, "client"))
    return context


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext | None) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_is_served_over_tls(
    handler: EchoHandler, certificates: Certificates, authority: KeyPair, version: ssl.TLSVersion
) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    async with tls_server(handler, certificates) as server, connected(server.port, context) as (reader, writer):
        writer.write(CONNECT + PUBLISH)
        assert await reader.readexactly(4 + 13) == ACCEPTED + ECHO
        assert handler.connections[0].transport_name == "tls"
        assert handler.connections[0].certificate is None


async def test_older_versions_of_tls_are_refused(
    handler: EchoHandler, certificates: Certificates, authority: KeyPair
) -> None:
    context = trusting(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # without which the client would not offer them
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    failed = FAILED_HANDSHAKES._value.get()
    async with tls_server(handler, certificates) as server:
        with pytest.raises(OSError):  # noqa: PT011 # of TLS, or of the connection that is closed then
            async with connected(server.port, context):
                pass
        await until(lambda: FAILED_HANDSHAKES._value.get() == failed + 1)


async def test_the_handler_sees_the_certificate_that_the_client_has_shown(
    handler: EchoHandler, certificates: Certificates, authority: KeyPair, tmp_path: Path
) -> None:
    own = make_certificate("device", authority)
    context = trusting(authority, own, tmp_path)
    async with tls_server(handler, certificates) as server, connected(server.port, context) as (reader, writer):
        writer.write(CONNECT)
        assert await reader.readexactly(4) == ACCEPTED
        shown = handler.connections[0].certificate
    assert shown == ssl.PEM_cert_to_DER_cert(own.pem)


async def test_a_certificate_that_nobody_trusted_vouches_for_ends_the_connection(
    handler: EchoHandler, certificates: Certificates, authority: KeyPair, tmp_path: Path
) -> None:
    context = trusting(authority, make_certificate("device", make_certificate("x", is_authority=True)), tmp_path)
    async with tls_server(handler, certificates) as server:
        async with connected(server.port, context) as (reader, writer):
            writer.write(CONNECT)
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await reader.readexactly(4)
        async with connected(server.port, trusting(authority)) as (reader, writer):
            writer.write(CONNECT)
            assert await reader.readexactly(4) == ACCEPTED
    assert len(handler.connections) == 1


@pytest.mark.parametrize("first", [CONNECT, b"GET / HTTP/1.1\r\n\r\n", bytes(100)], ids=["mqtt", "http", "zeros"])
async def test_plain_text_on_the_tls_port_is_dropped_at_once(
    handler: EchoHandler, certificates: Certificates, first: bytes
) -> None:
    failed = FAILED_HANDSHAKES._value.get()
    async with tls_server(handler, certificates) as server, connected(server.port, None) as (reader, writer):
        writer.write(first)
        with suppress(ConnectionResetError):
            assert ACCEPTED not in await reader.read()
    assert FAILED_HANDSHAKES._value.get() == failed + 1
    assert not handler.connections


async def test_hung_handshakes_keep_nobody_waiting_and_end_in_time(
    handler: EchoHandler, certificates: Certificates, authority: KeyPair
) -> None:
    async with tls_server(handler, certificates, handshake_timeout=1.0) as server:
        hung = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for client in hung[::2]:
            client.send(b"\x16\x03\x01\x02\x00\x01")
        async with connected(server.port, trusting(authority)) as (reader, writer):
            writer.write(CONNECT + PUBLISH)
            assert await reader.readexactly(4 + 13) == ACCEPTED + ECHO
            await until(lambda: len(server._sockets) == 1)
            writer.write(PINGREQ)
            assert await reader.readexactly(2) == PINGRESP
        for client in hung:
            client.close()


async def test_a_stop_waits_for_no_handshake(handler: EchoHandler, certificates: Certificates) -> None:
    async with tls_server(handler, certificates, handshake_timeout=PATIENCE * 10) as server:
        hung = socket.create_connection(("127.0.0.1", server.port))
        await until(lambda: len(server._sockets) == 1)
    assert not server._sockets
    hung.close()


async def test_clients_of_all_transports_count_towards_the_limit_of_their_address(
    handler: EchoHandler, certificates: Certificates, authority: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    limits = ServerLimits(max_connections_per_address=2)
    async with tls_server(handler, certificates, limits=limits) as server:
        tcp_port = server._listeners[1].port
        first = socket.create_connection(("127.0.0.1", server.port))  # holds a place while it shakes hands
        async with connected(tcp_port, None) as (reader, writer):
            writer.write(CONNECT)
            assert await reader.readexactly(4) == ACCEPTED
            for context in (None, trusting(authority)):
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    async with connected(server.port if context else tcp_port, context) as (other, _):
                        await other.readexactly(1)
            first.close()
            await until(lambda: len(server._sockets) == 1)
            async with connected(server.port, trusting(authority)) as (again, its_writer):
                its_writer.write(CONNECT)
                assert await again.readexactly(4) == ACCEPTED
    own = [record.message for record in caplog.records if record.name == "kpc.mqtt_server"]
    assert own == ["turning clients away: there are 2 connections of 127.0.0.1"]


async def test_a_replaced_certificate_is_met_by_the_next_client_while_connections_go_on(
    handler: EchoHandler, tmp_path: Path, authority: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kpc.certificates")
    files = make_certificate("server", authority).write(tmp_path, "server")
    certificates = Certificates(*files)
    async with (
        tls_server(handler, certificates) as server,
        connected(server.port, trusting(authority)) as (reader, writer),
    ):
        writer.write(CONNECT)
        assert await reader.readexactly(4) == ACCEPTED
        other = make_certificate("other authority", is_authority=True)
        make_certificate("server", other).write(tmp_path, "server")
        certificates.refresh()
        writer.write(PUBLISH)
        assert await reader.readexactly(13) == ECHO
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connected(server.port, trusting(authority)):
                pass
        async with connected(server.port, trusting(other)) as (again, its_writer):
            its_writer.write(CONNECT)
            assert await again.readexactly(4) == ACCEPTED
    assert [record.levelname for record in caplog.records if record.name == "kpc.certificates"] == ["INFO"]


async def test_a_taken_port_is_one_sentence_and_leaves_nothing_listening(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listeners: list[Listener] = [TcpListener("127.0.0.1", 0), TlsListener("127.0.0.1", port, certificates)]
        with pytest.raises(StartError, match="choose another port with KPC_TLS_PORT"):
            await MqttServer(EchoHandler(), listeners).__aenter__()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listeners[0].port))
