"""The HTTP binding by itself: an edge of our own, asked through a real HTTP client."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from httpx import ASGITransport

from kpc.device_http import REQUEST_ID, DeviceHttp
from kpc.edge import Outcome
from kpc.tokens import Guesser
from support.waiting import until

PATH = "/kp1/app-v1/epmx/t0ken/get"


class FakeEdge:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, str, bytes, int | None]] = []
        self.sent_sizes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def request(
        self, transport: str, path: str, payload: bytes, *, guesser: Guesser, default_request_id: int | None = None
    ) -> Outcome:
        self.asked.append((transport, path, payload, default_request_id))
        await self.gate.wait()
        return self.outcome

    def sent(self, outcome: Outcome, size: int) -> None:
        self.sent_sizes.append(size)


def client(edge: FakeEdge, concurrency: int = 10, body_timeout: float = 5.0) -> httpx.AsyncClient:
    app = DeviceHttp(edge, max_payload=100, concurrency=concurrency, body_timeout=body_timeout)
    return httpx.AsyncClient(transport=ASGITransport(app), base_url="http://kpc")


async def test_a_success_is_exactly_the_status_and_payload_of_the_extension() -> None:
    edge = FakeEdge(Outcome(status_code=200, payload=b'{"a":1.0}'))
    async with client(edge) as device:
        answer = await device.post(PATH, content=b"{}", headers={"content-type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.content) == (200, b'{"a":1.0}')
    assert edge.asked == [("http", PATH[1:], b"{}", REQUEST_ID)]


async def test_a_success_without_payload_has_an_empty_body() -> None:
    async with client(FakeEdge(Outcome(status_code=200))) as device:
        answer = await device.post(PATH)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_an_error_has_its_status_and_the_error_payload() -> None:
    async with client(FakeEdge(Outcome(status_code=401, reason_phrase="unknown endpoint token"))) as device:
        answer = await device.post(PATH)
    assert answer.status_code == 401
    assert answer.json() == {"statusCode": 401, "reasonPhrase": "unknown endpoint token"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_only_post_is_allowed(method: str) -> None:
    edge = FakeEdge(Outcome(status_code=200))
    async with client(edge) as device:
        answer = await device.request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["statusCode"] == 405
    assert edge.asked == []


async def test_a_body_above_the_limit_is_refused() -> None:
    edge = FakeEdge(Outcome(status_code=200))
    async with client(edge) as device:
        assert (await device.post(PATH, content=b"x" * 100)).status_code == 200
        answer = await device.post(PATH, content=b"x" * 101)
    assert answer.status_code == 413
    assert answer.json()["statusCode"] == 413


async def test_a_path_of_another_protocol_is_not_found() -> None:
    async with client(FakeEdge(Outcome(status_code=200))) as device:
        assert (await device.post("/kpc/kp2/a/b/c")).status_code == 404
        assert (await device.post("/kpc" + PATH)).status_code == 200


async def test_one_place_serves_both_paths_and_tells_traffic_what_it_sent() -> None:
    edge = FakeEdge(Outcome(status_code=200, payload=b"12345"))
    async with client(edge) as device:
        for path in (PATH, f"/kpc{PATH}"):
            assert (await device.post(path)).status_code == 200
    assert [path for _, path, _, _ in edge.asked] == [PATH[1:], PATH[1:]]
    assert edge.sent_sizes == [5, 5]


async def test_too_much_is_refused_with_the_time_to_wait() -> None:
    async with client(FakeEdge(Outcome(status_code=429, reason_phrase="too many messages", retry_after=3))) as device:
        answer = await device.post(PATH)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


async def test_there_are_no_more_requests_at_once_than_allowed() -> None:
    edge = FakeEdge(Outcome(status_code=200))
    edge.gate.clear()
    async with client(edge, concurrency=2) as device, asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(device.post(PATH)) for _ in range(2)]
        await until(lambda: len(edge.asked) == 2)
        refused = await device.post(PATH)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"statusCode": 503, "reasonPhrase": "too many requests at once, wait"}
        edge.gate.set()
        assert [(await one).status_code for one in waiting] == [200, 200]
        assert (await device.post(PATH)).status_code == 200


async def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async def never_ending() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    edge = FakeEdge(Outcome(status_code=200))
    async with client(edge, concurrency=1, body_timeout=0.05) as device:
        answer = await device.post(PATH, content=never_ending())
        assert (answer.status_code, answer.headers["connection"]) == (408, "close")
        assert answer.json() == {"statusCode": 408, "reasonPhrase": "the body did not arrive in 0.05 s"}
        assert edge.asked == []
        assert (await device.post(PATH)).status_code == 200
