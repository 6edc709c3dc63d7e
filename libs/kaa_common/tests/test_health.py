import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from kaa_common import health as health_module
from kaa_common.errors import Unavailable
from kaa_common.health import Health


async def in_order() -> None:
    pass


async def away() -> None:
    raise Unavailable("not connected to NATS")


async def broken() -> None:
    raise RuntimeError("password=geheim")


async def silent() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=health.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_process_without_problems_is_ready(health: Health, client: httpx.AsyncClient) -> None:
    health.expect("epr")
    health.watch("epr", in_order)

    ready = await client.get("/readyz")

    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_a_process_is_not_ready_before_all_its_parts_are_there(health: Health, client: httpx.AsyncClient) -> None:
    health.expect("epr")
    health.expect("kpc")
    health.watch("epr", in_order)

    ready = await client.get("/readyz")

    assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "problems": {"kpc": "starting"}})


async def test_a_part_that_is_not_there_says_what_it_waits_for(health: Health, client: httpx.AsyncClient) -> None:
    health.expect("epr", "waiting for NATS")

    assert (await client.get("/readyz")).json()["problems"] == {"epr": "waiting for NATS"}


async def test_the_parts_that_fail_are_named_with_their_reason(health: Health, client: httpx.AsyncClient) -> None:
    health.watch("bus", away)
    health.watch("other", broken)
    health.watch("fine", in_order)

    ready = await client.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["problems"] == {"bus": "not connected to NATS", "other": "RuntimeError"}


async def test_silent_parts_cost_one_timeout_together(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "CHECK_TIMEOUT", 0.05)
    for number in range(10):
        health.watch(str(number), silent)

    started = time.perf_counter()
    problems = await health.problems()

    assert problems == {str(number): "no answer within 0.05 s" for number in range(10)}
    assert time.perf_counter() - started < 0.4


async def test_a_stopping_process_is_alive_and_not_ready(health: Health, client: httpx.AsyncClient) -> None:
    health.watch("epr", in_order)
    health.stopping = True

    assert (await client.get("/readyz")).json()["problems"] == {"process": "stopping"}
    assert (await client.get("/livez")).status_code == 200


async def test_a_process_in_trouble_is_alive(health: Health, client: httpx.AsyncClient) -> None:
    health.watch("bus", away)

    assert (await client.get("/livez")).status_code == 200


async def test_metrics_are_in_the_text_format_of_prometheus(client: httpx.AsyncClient) -> None:
    metrics = await client.get("/metrics")

    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert "process_cpu_seconds_total" in metrics.text
