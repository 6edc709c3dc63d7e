import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from kaa_common.clock import Deadline
from kaa_common.errors import StartError
from kaa_common.messages.ecap import (
    VALIDATE_TOKEN,
    EndpointTokenValidationRequest,
    EndpointTokenValidationResponse,
)
from kaa_common.rpc import Reply, Rpc, answer_header, request_header
from kaa_common.service import Platform, Service, run
from kaa_common.settings import Environ
from support.nats_server import NatsServer
from support.ports import free_port
from support.waiting import until

CHILD = """
import os, sys
from contextlib import asynccontextmanager
from kaa_common.service import Service, main

@asynccontextmanager
async def work(platform):
    async with platform.store():
        print("working", flush=True)
        yield
    print("ended", flush=True)

sys.exit(main([Service("kettle", work)], os.environ))
"""


def logging_service(name: str, happened: list[str]) -> Service:
    @asynccontextmanager
    async def work(_: Platform) -> AsyncIterator[None]:
        happened.append(f"{name} starts")
        try:
            yield
        finally:
            happened.append(f"{name} ends")

    return Service(name, work)


@pytest.fixture
def environ(nats_server: NatsServer, tmp_path: Path) -> dict[str, str]:
    return {"NATS_URL": nats_server.url, "KAA_HTTP_PORT": str(free_port()), "KAA_DATA_DIR": str(tmp_path / "data")}


@asynccontextmanager
async def client_of(environ: Environ) -> AsyncIterator[httpx.AsyncClient]:
    """Requests to the process, as soon as it listens."""
    transport = httpx.AsyncHTTPTransport(retries=5)
    base_url = f"http://127.0.0.1:{environ['KAA_HTTP_PORT']}"
    async with httpx.AsyncClient(transport=transport, base_url=base_url, timeout=5) as client:
        yield client


@asynccontextmanager
async def started(environ: Environ, *services: Service) -> AsyncIterator[httpx.AsyncClient]:
    """The services, ready, until the context is left; a client of their HTTP port."""
    stop, ready = asyncio.Event(), asyncio.Event()
    async with client_of(environ) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(run(services, environ, stop, ready.set))
        await asyncio.wait_for(ready.wait(), 10)
        yield client
        stop.set()


async def test_services_start_in_their_order_and_stop_in_reverse(environ: Environ) -> None:
    happened: list[str] = []

    async with started(environ, logging_service("first", happened), logging_service("second", happened)):
        assert happened == ["first starts", "second starts"]

    assert happened[2:] == ["second ends", "first ends"]


async def test_nothing_is_left_behind(environ: Environ) -> None:
    before = asyncio.all_tasks()

    async with started(environ, logging_service("kettle", [])) as client:
        assert (await client.get("/readyz")).status_code == 200

    await until(lambda: asyncio.all_tasks() == before)


async def test_a_service_is_ready_when_it_works_and_not_while_nats_is_away(
    environ: dict[str, str], own_nats_server: NatsServer
) -> None:
    environ["NATS_URL"] = own_nats_server.url
    async with started(environ, logging_service("kettle", [])) as client:
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        own_nats_server.stop()

        async def problems() -> dict[str, str]:
            found: dict[str, str] = (await client.get("/readyz")).json().get("problems", {})
            return found

        await until_answer(problems, {"kettle": "not connected to NATS"})
        own_nats_server.start()
        await until_answer(problems, {})


async def until_answer(ask: Callable[[], Awaitable[object]], expected: object) -> None:
    async with asyncio.timeout(10):
        while await ask() != expected:
            await asyncio.sleep(0.01)


async def test_the_probes_answer_while_nats_is_not_there_yet(environ: dict[str, str]) -> None:
    environ["NATS_URL"] = f"nats://127.0.0.1:{free_port()}"
    stop = asyncio.Event()

    async with asyncio.timeout(10), client_of(environ) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(run([logging_service("kettle", [])], environ, stop))

        async def probes() -> tuple[int, int, object]:
            alive, ready = await client.get("/livez"), await client.get("/readyz")
            return alive.status_code, ready.status_code, ready.json().get("problems")

        await until_answer(probes, (200, 503, {"kettle": "waiting for NATS"}))
        stop.set()


async def test_the_probe_says_that_a_service_waits_for_the_database(environ: dict[str, str]) -> None:
    environ["MONGODB_URI"] = f"mongodb://127.0.0.1:{free_port()}"
    stop = asyncio.Event()

    @asynccontextmanager
    async def keep_documents(platform: Platform) -> AsyncIterator[None]:
        async with platform.store():
            yield

    async with asyncio.timeout(10), client_of(environ) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(run([Service("kettle", keep_documents)], environ, stop))

        async def problems() -> object:
            return (await client.get("/readyz")).json().get("problems")

        await until_answer(problems, {"kettle": "waiting for the database"})
        stop.set()


async def test_a_stop_while_a_later_service_starts_ends_those_before_it(environ: Environ) -> None:
    happened: list[str] = []
    waiting, stop = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def wait_for_ever(_: Platform) -> AsyncIterator[None]:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            happened.append("second gives up")
        yield

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        services = [logging_service("first", happened), Service("second", wait_for_ever)]
        tasks.create_task(run(services, environ, stop))
        await waiting.wait()
        stop.set()

    assert happened == ["first starts", "second gives up", "first ends"]


async def test_a_stop_before_the_start_is_a_stop(environ: Environ) -> None:
    stop = asyncio.Event()
    stop.set()

    async with asyncio.timeout(10):
        await run([logging_service("kettle", [])], environ, stop)


async def test_requests_in_progress_are_answered_before_the_service_loses_what_they_need(
    environ: Environ, rpc: Rpc
) -> None:
    taken, go_on = asyncio.Event(), asyncio.Event()
    has_store = False

    @asynccontextmanager
    async def work(platform: Platform) -> AsyncIterator[None]:
        nonlocal has_store

        async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
            taken.set()
            await go_on.wait()
            assert has_store
            answer = EndpointTokenValidationResponse(
                **answer_header(request), token_id="t", endpoint_id="e", status_code=200
            )
            return Reply(answer)

        has_store = True
        await platform.rpc.serve(VALIDATE_TOKEN, "cm-stopping", handle)
        await platform.rpc.bus.flush(1)
        yield
        has_store = False

    request = EndpointTokenValidationRequest(**request_header(Deadline.after(5)), app_name="a", token="t")
    async with asyncio.TaskGroup() as tasks, started(environ, Service("kettle", work)):
        call = tasks.create_task(rpc.call(VALIDATE_TOKEN, "cm-stopping", request))
        await taken.wait()
        asyncio.get_running_loop().call_later(0.3, go_on.set)

    assert call.result().message.status_code == 200


async def test_a_service_has_a_store_of_its_own(environ: Environ, tmp_path: Path) -> None:
    @asynccontextmanager
    async def work(platform: Platform) -> AsyncIterator[None]:
        async with platform.store():
            yield

    async with started(environ, Service("kettle", work)) as client:
        assert (await client.get("/readyz")).status_code == 200
    assert list((tmp_path / "data").glob("kettle*"))


async def test_a_file_that_is_no_database_is_one_sentence(environ: Environ, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kettle.db").write_bytes(b"no database" * 1000)

    @asynccontextmanager
    async def work(platform: Platform) -> AsyncIterator[None]:
        async with platform.store():
            yield

    sentence = r"kettle has no database: .*kettle\.db cannot be used: file is not a database"
    with pytest.RaisesGroup(pytest.RaisesExc(StartError, match=sentence), flatten_subgroups=True):
        await run([Service("kettle", work)], environ, asyncio.Event())


async def test_a_service_that_cannot_start_ends_those_before_it_and_says_why(environ: Environ) -> None:
    happened: list[str] = []

    @asynccontextmanager
    async def refuse(_: Platform) -> AsyncIterator[None]:
        if happened:
            raise StartError("the kettle has no water")
        yield

    with pytest.RaisesGroup(pytest.RaisesExc(StartError, match="no water"), flatten_subgroups=True):
        await run([logging_service("first", happened), Service("second", refuse)], environ, asyncio.Event())
    assert happened == ["first starts", "first ends"]


async def test_a_part_that_breaks_down_ends_the_process_instead_of_leaving_it_half_working(environ: Environ) -> None:
    @asynccontextmanager
    async def work(_: Platform) -> AsyncIterator[None]:
        async def break_down() -> None:
            raise RuntimeError("of a part")

        async with asyncio.TaskGroup() as parts:
            parts.create_task(break_down())
            yield

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="of a part"), flatten_subgroups=True):
        async with asyncio.timeout(10):
            await run([Service("kettle", work)], environ, asyncio.Event())


class Child:
    """A process that runs one service."""

    def __init__(self, environ: Environ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env=os.environ | dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_line(self, pipe: str, part: str) -> None:
        for line in getattr(self.process, pipe):
            if part in line:
                return
        raise AssertionError(f"ended without {part!r}")

    def result(self) -> tuple[int, str, str]:
        """Exit code, and the rest of stdout and stderr."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def start_child() -> Iterator[Callable[[Environ], Child]]:
    children: list[Child] = []

    def start(environ: Environ) -> Child:
        children.append(Child(environ))
        return children[-1]

    yield start
    for child in children:
        child.process.kill()
        child.process.communicate()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(
    environ: Environ, start_child: Callable[[Environ], Child], signal_number: signal.Signals
) -> None:
    child = start_child(environ)
    child.wait_for_line("stderr", "kettle ready on port")
    child.process.send_signal(signal_number)

    exit_code, out, err = child.result()

    assert exit_code == 0
    assert out.splitlines() == ["working", "ended"]
    assert "Traceback" not in err


def test_a_signal_ends_the_process_while_it_waits_for_nats(
    environ: dict[str, str], start_child: Callable[[Environ], Child]
) -> None:
    environ["NATS_URL"] = f"nats://kaa:geheim@127.0.0.1:{free_port()}"
    child = start_child(environ)
    child.wait_for_line("stderr", "waiting for NATS at 127.0.0.1")
    child.process.send_signal(signal.SIGTERM)

    exit_code, out, err = child.result()

    assert (exit_code, out) == (0, "")
    assert "Traceback" not in err
    assert "geheim" not in err


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("KAA_HTTP_PORT", "taken", "kaa: cannot listen on 127.0.0.1:{port}: Address already in use; choose another"),
        ("KAA_HTTP_PORT", "many", "kaa: KAA_HTTP_PORT: Input should be a valid integer"),
        ("NATS_URL", "nats://kaa:geheim", "kaa: NATS_URL must name servers as nats://"),
    ],
)
def test_what_keeps_a_process_from_starting_is_one_sentence(
    environ: dict[str, str],
    start_child: Callable[[Environ], Child],
    nats_server: NatsServer,
    variable: str,
    value: str,
    sentence: str,
) -> None:
    environ[variable] = str(nats_server.port) if value == "taken" else value

    exit_code, out, err = start_child(environ).result()

    assert (exit_code, out) == (1, "")
    (line,) = [line for line in err.splitlines() if "INFO" not in line]
    assert line.startswith(sentence.format(port=nats_server.port))
    assert "geheim" not in err
