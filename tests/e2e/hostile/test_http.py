"""What is not HTTP, or should not be: it is refused, or its connection is closed."""

import asyncio

import pytest

from .attacks import CONNECT, PATIENCE, TLS_CLIENT_HELLO, Platform, short

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

HTTP_GARBAGE = [
    b"\x00" * 100,
    b"\xff\xfe\xfd" * 50 + b"\r\n\r\n",
    TLS_CLIENT_HELLO,
    CONNECT,
    b"\r\n\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"POST /kp1 HTTP/9.9\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    b"POST /kp1/\xff\xfe/b/c/get HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /kp1/%ff%fe/%00/%2f/get HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 200_000 + b"\r\nConnection: close\r\n\r\n",
    b"POST /" + b"a/" * 100_000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\ncut off",
]


@pytest.mark.parametrize("data", HTTP_GARBAGE, ids=short)
async def test_garbage_over_http_is_refused_and_costs_nobody_anything(platform: Platform, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.stack.http_port)
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            writer.write_eof()
            while received := await reader.read(65536):
                answer += received
    except OSError:
        pass  # closed while much of the input was unread
    finally:
        writer.transport.abort()
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert platform.rest.get("/livez").status_code == 200
