import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kaa_common import http_server
from kaa_common.errors import StartError
from kaa_common.http_server import Gateway, bind, serve


async def show_path(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"mounted {scope['path']}")(scope, receive, send)


async def show_own(request: Request) -> Response:
    return PlainTextResponse(f"own {request.url.path}")


@asynccontextmanager
async def client_of(app: ASGIApp, grace: float = 5.0) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, served on a real port."""
    listener = bind("127.0.0.1", 0, "KAA_HTTP_PORT")
    port = listener.getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client, serve(app, listener, grace):
        yield client


@pytest.fixture
def gateway() -> Gateway:
    return Gateway([Route("/livez", show_own)])


async def test_a_request_goes_to_what_is_mounted_at_the_start_of_its_path(gateway: Gateway) -> None:
    gateway.mount("kp1", show_path)

    async with client_of(gateway) as client:
        assert (await client.get("/kp1/a/b")).text == "mounted /kp1/a/b"
        assert (await client.post("/kp1")).text == "mounted /kp1"
        assert (await client.get("/livez")).text == "own /livez"


@pytest.mark.parametrize("path", ["/", "/other", "/kp1x", "//kp1", "/kp", "/livez/more"])
async def test_anything_else_is_a_404_with_a_message(gateway: Gateway, path: str) -> None:
    gateway.mount("kp1", show_path)

    async with client_of(gateway) as client:
        response = await client.get(path)

    assert (response.status_code, response.json()) == (404, {"message": "Not Found"})


async def test_a_wrong_method_is_a_405_with_a_message(gateway: Gateway) -> None:
    async with client_of(gateway) as client:
        response = await client.post("/livez")

    assert (response.status_code, response.json()) == (405, {"message": "Method Not Allowed"})


async def test_what_is_unmounted_is_gone(gateway: Gateway) -> None:
    gateway.mount("kp1", show_path)
    gateway.unmount("kp1")

    async with client_of(gateway) as client:
        assert (await client.get("/kp1/a")).status_code == 404


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"garbage\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n",
    ],
)
async def test_a_strange_request_costs_nobody_anything(
    gateway: Gateway, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(gateway, grace=1) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(request_bytes)
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
        assert (await client.get("/livez")).status_code == 200
    assert all(record.exc_info is None for record in caplog.records)


async def show_client(request: Request) -> Response:
    assert request.client is not None
    return PlainTextResponse(f"{request.client.host} {request.url.scheme}")


FORWARDED = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("trusted", "shown"),
    [("", "127.0.0.1 http"), ("10.0.0.0/8", "127.0.0.1 http"), ("10.0.0.0/8,127.0.0.0/8", "198.51.100.7 https")],
)
async def test_only_a_trusted_proxy_says_for_whom_it_asks(trusted: str, shown: str) -> None:
    listener = bind("127.0.0.1", 0, "KAA_HTTP_PORT")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/client"
    async with httpx.AsyncClient() as client, serve(Gateway([Route("/client", show_client)]), listener, 5, trusted):
        assert (await client.get(url, headers=FORWARDED)).text == shown


def test_a_taken_port_is_one_sentence_that_says_what_to_do() -> None:
    with contextlib.closing(bind("127.0.0.1", 0, "KAA_HTTP_PORT")) as first:
        port = first.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port}: Address already in use; .* KAA_HTTP_PORT"):
            bind("127.0.0.1", port, "KAA_HTTP_PORT")


def test_a_host_that_is_none_is_one_sentence() -> None:
    with pytest.raises(StartError, match=r"cannot listen on host\.invalid:8080"):
        bind("host.invalid", 8080, "KAA_HTTP_PORT")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_address_of_ipv6_can_be_listened_on() -> None:
    try:
        with contextlib.closing(bind("::1", 0, "KAA_HTTP_PORT")) as listener:
            assert listener.family == socket.AF_INET6
    except StartError as exc:
        pytest.skip(str(exc))


async def test_a_client_that_comes_before_the_server_runs_is_served(gateway: Gateway) -> None:
    listener = bind("127.0.0.1", 0, "KAA_HTTP_PORT")
    early = socket.create_connection(listener.getsockname())
    early.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    async with serve(gateway, listener, 5):
        answer = await asyncio.to_thread(early.recv, 1000)
    early.close()

    assert answer.startswith(b"HTTP/1.1 200")


async def test_stopping_lets_the_requests_in_progress_finish_and_takes_no_more() -> None:
    started = asyncio.Event()
    go_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        await go_on.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async with asyncio.TaskGroup() as tasks, client_of(slow) as client:
        request = tasks.create_task(client.get("/"))
        await started.wait()
        address = client.base_url.host, client.base_url.port

        async def go_on_when_nobody_is_accepted() -> None:
            while True:
                try:
                    _, writer = await asyncio.open_connection(*address)
                except (ConnectionRefusedError, ConnectionResetError):  # reset: it waited to be accepted
                    go_on.set()
                    return
                writer.close()
                await asyncio.sleep(0.01)

        tasks.create_task(go_on_when_nobody_is_accepted())
        # The client stays open until its request is answered.
        tasks.create_task(asyncio.wait_for(asyncio.shield(request), 5))
    assert request.result().text == "done"


async def test_a_request_that_does_not_end_is_given_up_after_the_grace() -> None:
    started = asyncio.Event()
    ended = asyncio.Event()

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:

        async def ask(client: httpx.AsyncClient) -> None:
            with contextlib.suppress(httpx.HTTPError):
                await client.get("/")

        async with client_of(stuck, grace=0.1) as client:
            tasks.create_task(ask(client))
            await started.wait()
        await ended.wait()


async def test_an_idle_connection_does_not_hold_up_the_end(gateway: Gateway) -> None:
    async with asyncio.timeout(3):
        async with client_of(gateway, grace=30) as client:
            await client.get("/livez")  # and the client keeps the connection


async def test_an_unexpected_error_of_an_application_is_logged_once_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fail":
            raise RuntimeError("of the application")
        await show_path(scope, receive, send)

    async with client_of(fail) as client:
        assert (await client.get("/fail")).status_code == 500
        assert (await client.get("/fine")).status_code == 200

    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvZg==\r\nSec-WebSocket-Version: 13\r\n"
)


@asynccontextmanager
async def connection_to(app: ASGIApp) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection to the application, served on a real port."""
    listener = bind("127.0.0.1", 0, "KAA_HTTP_PORT")
    port = listener.getsockname()[1]
    async with serve(app, listener, 5.0), asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


@pytest.mark.parametrize(
    ("before", "beginning"),
    [
        (b"", b""),
        (b"", b"GET /livez"),
        (b"", b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: "),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /livez"),
    ],
    ids=["nothing", "a line", "a header", "another request"],
)
async def test_a_request_whose_headers_do_not_end_in_time_is_closed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, before: bytes, beginning: bytes
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_WITHIN", 0.05)

    async with connection_to(gateway) as (reader, writer):
        writer.write(before)
        if before:
            await reader.readuntil(b"own /livez")
        writer.write(beginning)
        assert await reader.read() == b""


async def test_a_request_may_take_longer_than_its_headers(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_WITHIN", 0.05)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)
        await show_path(scope, receive, send)

    gateway.mount("slow", slow)
    async with client_of(gateway) as client:
        assert (await client.get("/slow")).text == "mounted /slow"


@pytest.mark.parametrize(
    ("rest", "status_line"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b""),
        (b"X-Long: " + b"x" * 9000 + b"\r\n\r\n", b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (b"X: y\r\n" * 150 + b"\r\n", b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
    ],
    ids=["body", "long header", "many headers"],
)
async def test_a_handshake_that_is_no_websockets_is_closed(gateway: Gateway, rest: bytes, status_line: bytes) -> None:
    async with connection_to(gateway) as (reader, writer):
        writer.write(UPGRADE + rest)
        assert (await reader.read()).startswith(status_line)


async def accept_and_close(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.close", "code": 1003})


async def test_a_websocket_whose_client_does_not_answer_its_end_is_closed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CLOSED_WITHIN", 0.05)
    gateway.mount_websocket("/ws", accept_and_close)

    async with connection_to(gateway) as (reader, writer):
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\x81\0\0\0\0a")
        assert await reader.read() == b"\x88\x02" + (1003).to_bytes(2, "big")


async def test_a_text_that_is_none_is_no_error_of_ours(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.mount_websocket("/ws", accept_and_close)

    async with connection_to(gateway) as (reader, writer):
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\x82\0\0\0\0\xff\xfe")
        assert (await reader.read())[2:4] == (1007).to_bytes(2, "big")

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


UNFINISHED = (
    b"\x82\xff" + (100_000).to_bytes(8, "big") + bytes(4) + bytes(60_000),
    b"\x02\xff" + (60_000).to_bytes(8, "big") + bytes(4) + bytes(60_000),
    (b"\x02\x81" + bytes(5)) + (b"\x00\xfe" + (500).to_bytes(2, "big") + bytes(504)) * 120,
)


@pytest.mark.parametrize("beginning", UNFINISHED, ids=["half a frame", "a fragment", "many fragments"])
async def test_messages_that_do_not_end_give_way_to_those_of_others(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(http_server, "MAX_WEBSOCKETS_HOLD", 100_000)
    received: list[int] = []

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            received.append(len(message["bytes"]))
            await send({"type": "websocket.send", "bytes": b"ok"})

    gateway.mount_websocket("/ws", count)
    listener = bind("127.0.0.1", 0, "KAA_HTTP_PORT")
    async with serve(gateway, listener, 5.0), asyncio.timeout(5):
        clients = [await asyncio.open_connection(*listener.getsockname()) for _ in range(3)]
        for reader, writer in clients:
            writer.write(UPGRADE + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
        (first, its_end), (second, other_end), (third, third_end) = clients
        its_end.write(beginning)
        await its_end.drain()
        third_end.write(b"\x82\x81" + bytes(5))
        assert await third.readexactly(4) == b"\x82\x02ok"
        other_end.write(b"\x82\xff" + (60_000).to_bytes(8, "big") + bytes(4) + bytes(59_999))
        assert (await first.read())[2:4] == (1013).to_bytes(2, "big")
        other_end.write(bytes(1))
        assert await second.readexactly(4) == b"\x82\x02ok"
        for _, writer in clients:
            writer.transport.abort()
    assert received == [1, 60_000]


async def test_requests_that_are_sent_without_waiting_are_answered_one_after_the_other(gateway: Gateway) -> None:
    most = running = 0

    async def echo_path(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        while (await receive())["more_body"]:
            pass
        await show_path(scope, receive, send)
        running -= 1

    gateway.mount("a", echo_path)
    paths = [f"/a/{number}" for number in range(2000)]
    requests = [f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{'x' * 100}" for path in paths]
    async with connection_to(gateway) as (reader, writer):
        writer.write("".join(requests).encode())
        for path in paths:
            assert (await reader.readuntil(f"mounted {path}".encode())).startswith(b"HTTP/1.1 200 OK")
    assert most == 1


async def test_headers_that_are_too_long_are_refused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_HEADERS", 10_000)

    async with connection_to(gateway) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 7000 + b"\r\n\r\n")
        await reader.readuntil(b"own /livez")
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"X-Many: x\r\n" * 2000)
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("more", [b"X-Many: x\r\n" * 500, b"X-Long: " + b"x" * 100_000], ids=["many", "long"])
async def test_what_follows_a_body_is_no_place_for_more_than_headers(gateway: Gateway, more: bytes) -> None:
    async with connection_to(gateway) as (reader, writer):
        writer.write(b"POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + more)
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass


async def test_a_request_is_answered_whose_sender_says_nothing_more(gateway: Gateway) -> None:
    async with connection_to(gateway) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.write_eof()
        assert (await reader.read()).endswith(b"own /livez")


async def test_a_websocket_that_floods_takes_turns_with_the_others(gateway: Gateway) -> None:
    """Everything is there when the server looks: the flood first, then one message of somebody else."""
    received: list[bytes] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            received.append(message["bytes"])

    gateway.mount_websocket("/ws", note)
    listener = bind("127.0.0.1", 0, "KAA_HTTP_PORT")
    async with serve(gateway, listener, 5.0), asyncio.timeout(5):
        clients = [await asyncio.open_connection(*listener.getsockname()) for _ in range(2)]
        for reader, writer in clients:
            writer.write(UPGRADE + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
        (flooded, flood), (_, other) = clients
        flood.write((b"\x89\x80" + bytes(4)) * 5000 + b"\x82\x81" + bytes(4) + b"f")
        other.write(b"\x82\x81" + bytes(4) + b"o")
        assert await flooded.readexactly(10_000) == b"\x8a\x00" * 5000
        while len(received) < 2:
            await asyncio.sleep(0)
        for _, writer in clients:
            writer.transport.abort()
    assert received == [b"o", b"f"]


@pytest.mark.parametrize("size", [1, 200, 3000, 1_000_000])
async def test_messages_of_any_size_that_come_at_once_are_taken_in_order(gateway: Gateway, size: int) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"][:1]})

    gateway.mount_websocket("/ws", echo)
    length = {1: b"\x81", 200: b"\xfe\x00\xc8", 3000: b"\xfe\x0b\xb8"}.get(size, b"\xff" + size.to_bytes(8, "big"))
    messages = b"".join(b"\x82" + length + bytes(4) + bytes([number]) * size for number in range(10))
    async with connection_to(gateway) as (reader, writer):
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(messages)
        assert await reader.readexactly(30) == b"".join(b"\x82\x01" + bytes([number]) for number in range(10))
