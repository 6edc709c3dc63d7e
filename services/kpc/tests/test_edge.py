"""A request from its path to the extension and back, and every fault on the way with its status code."""

import asyncio
from dataclasses import replace

import pytest

from kaa_common.budget import Budget
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Reply
from kpc import edge as module
from kpc.edge import Edge, Outcome, Speaker
from kpc.kp1 import Name
from kpc.rate_limits import RateLimit
from kpc.tokens import Guesser, Identity
from support.waiting import until

from .conftest import APP, APP_VERSION, ENDPOINT, OTHER_TOKEN, TOKEN, TOKEN_ID, Backend

GUESSER = Guesser(Budget(burst=100, per_second=0, max_names=1), "device")


async def test_the_extension_gets_what_the_device_sent_and_the_device_its_answer(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    backend.answer = (200, b'{"a":1}', None)

    outcome = await edge.request("mqtt", backend.path(f"{TOKEN}/get/42"), b"{}", guesser=GUESSER)

    assert outcome._replace(speaker=None) == Outcome(status_code=200, payload=b'{"a":1}', has_request_id=True)
    (request,) = backend.received
    assert (request.app_version_name, request.endpoint_id) == (APP_VERSION, ENDPOINT)
    assert (request.resource_path, request.request_id, request.payload) == ("/get", 42, b"{}")


async def test_a_request_without_an_id_gets_the_default_of_its_transport(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    outcome = await edge.request("http", backend.path(f"{TOKEN}/get"), b"", guesser=GUESSER, default_request_id=1)
    assert not outcome.has_request_id
    await edge.request("mqtt", backend.path(f"{TOKEN}/get"), b"", guesser=GUESSER)
    assert [request.request_id for request in backend.received] == [1, None]


async def test_an_error_of_the_extension_is_the_device_s(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    backend.answer = (409, None, "taken")
    outcome = await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"", guesser=GUESSER)
    assert (outcome.status_code, outcome.reason_phrase, outcome.is_success) == (409, "taken", False)


async def test_a_status_code_that_is_none_is_an_internal_error(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    backend.answer = (7, None, "secret detail")
    outcome = await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"", guesser=GUESSER)
    assert (outcome.status_code, outcome.reason_phrase) == (500, "internal error")


@pytest.mark.parametrize(
    ("path", "status_code"),
    [
        (f"kp1/{APP_VERSION}/{{extension}}/{TOKEN}", 400),
        (f"kp1/{APP_VERSION}/{{extension}}/{TOKEN}/get/99999999999", 400),
        (f"kp1/unknown-v1/{{extension}}/{TOKEN}/get/1", 404),
        (f"kp1/un.known/{{extension}}/{TOKEN}/get/1", 404),
        (f"kp1/{APP_VERSION}/nothing/{TOKEN}/get/1", 404),
        (f"kp1/{APP_VERSION}/{{extension}}.>/{TOKEN}/get/1", 404),
        (f"kp1/{APP_VERSION}/{{extension}}/wrong/get/1", 401),
        (f"kp1/{APP_VERSION}/other/{TOKEN}/get/1", 503),
    ],
)
async def test_every_fault_has_its_status_code(edge: Edge, backend: Backend, path: str, status_code: int) -> None:
    await backend.serve_extension()
    outcome = await edge.request("mqtt", path.format(extension=backend.extension), b"", guesser=GUESSER)
    assert outcome.status_code == status_code
    assert 0 < len(outcome.reason_phrase) < 80
    assert backend.received == []


async def test_an_extension_that_is_not_allowed_is_forbidden(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    backend.config = {"allowed-extension-instances": ["other"]}
    outcome = await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"", guesser=GUESSER)
    assert outcome.status_code == 403


async def test_a_payload_above_the_limit_is_too_large(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    assert (await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"x" * 1000, guesser=GUESSER)).status_code == 200
    assert (await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"x" * 1001, guesser=GUESSER)).status_code == 413


async def test_a_silent_extension_is_a_timeout(edge: Edge, backend: Backend) -> None:
    async def say_nothing(_: ClientData) -> Reply[ExtensionData]:
        await asyncio.Event().wait()
        raise AssertionError

    await backend.rpc.serve(CLIENT_DATA, backend.extension, say_nothing)
    edge._limits = replace(edge._limits, request_timeout=0.3)
    outcome = await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"", guesser=GUESSER)
    assert outcome.status_code == 504


async def test_who_asked_is_told_before_the_extension_answers(edge: Edge, backend: Backend) -> None:
    identified: list[Speaker] = []

    async def note(speaker: Speaker) -> None:
        identified.append(speaker)

    outcome = await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"", guesser=GUESSER, on_identified=note)
    assert outcome.status_code == 503
    (speaker,) = identified
    assert speaker.identity == Identity(ENDPOINT, TOKEN_ID)
    assert (speaker.app_version.app_name, speaker.name) == (APP, Name(APP_VERSION, backend.extension, TOKEN))
    assert outcome.speaker == speaker


async def test_requests_of_one_device_reach_the_extension_in_their_order(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(edge.request("mqtt", backend.path(f"{TOKEN}/update/{number}"), b"", guesser=GUESSER))
    assert [request.request_id for request in backend.received] == list(range(50))


async def test_application_version_and_token_are_looked_up_once(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    for _ in range(5):
        await edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"", guesser=GUESSER)
    assert (backend.lookups, backend.validations) == (1, 1)


async def test_requests_of_many_devices_keep_their_order_whatever_transport_they_come_by(
    edge: Edge, backend: Backend
) -> None:
    await backend.serve_extension()
    backend.tokens |= {f"token-{number}": (f"endpoint-{number}", f"id-{number}") for number in range(10)}
    async with asyncio.TaskGroup() as tasks:
        for request_id in range(40):
            for number in range(10):
                path = backend.path(f"token-{number}/update/{request_id}")
                transport = "http" if request_id % 3 else "mqtt"
                tasks.create_task(edge.request(transport, path, b"", guesser=GUESSER))
    by_endpoint: dict[str | None, list[int | None]] = {}
    for request in backend.received:
        by_endpoint.setdefault(request.endpoint_id, []).append(request.request_id)
    assert list(by_endpoint.values()) == [list(range(40))] * 10


async def test_a_device_whose_extension_is_slow_keeps_no_other_waiting(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    backend.silent_for = ENDPOINT
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(edge.request("mqtt", backend.path(f"{TOKEN}/get/1"), b"", guesser=GUESSER))
        await until(lambda: bool(backend.received))
        for _ in range(5):
            outcome = await edge.request("mqtt", backend.path(f"{OTHER_TOKEN}/get/1"), b"", guesser=GUESSER)
            assert outcome.status_code == 200
        assert not slow.done()
        slow.cancel()


async def test_a_request_has_its_time_from_when_the_one_before_it_was_answered(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    backend.delay = 0.1
    edge._limits = replace(edge._limits, request_timeout=0.5)
    async with asyncio.TaskGroup() as tasks:
        path = backend.path(f"{TOKEN}/update")
        requests = [tasks.create_task(edge.request("mqtt", path, b"", guesser=GUESSER)) for _ in range(10)]
    assert [request.result().status_code for request in requests] == [200] * 10


async def test_nothing_waits_for_ever_behind_what_is_answered(
    edge: Edge, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT", 0)
    await backend.serve_extension()
    backend.delay = 0.2
    edge._limits = replace(edge._limits, request_timeout=0.5)
    async with asyncio.TaskGroup() as tasks:
        path = backend.path(f"{TOKEN}/update")
        requests = [tasks.create_task(edge.request("mqtt", path, b"", guesser=GUESSER)) for _ in range(4)]
    first, *_, last = [request.result().status_code for request in requests]
    assert (first, last) == (200, 504)


async def test_all_that_wait_behind_a_request_without_an_answer_run_out_of_time_with_it(
    edge: Edge, backend: Backend
) -> None:
    await backend.serve_extension()
    backend.silent_for = ENDPOINT
    edge._limits = replace(edge._limits, request_timeout=0.5)
    async with asyncio.TaskGroup() as tasks:
        path = backend.path(f"{TOKEN}/update")
        requests = [tasks.create_task(edge.request("mqtt", path, b"", guesser=GUESSER)) for _ in range(10)]
        async with asyncio.timeout(1):
            outcomes = [await request for request in requests]
    assert [outcome.status_code for outcome in outcomes] == [504] * 10
    assert len(backend.received) == 1


async def test_no_more_requests_of_an_endpoint_wait_than_allowed(
    edge: Edge, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_IN_TURN", 2)
    await backend.serve_extension()
    async with asyncio.TaskGroup() as tasks:
        path = backend.path(f"{TOKEN}/get/1")
        requests = [tasks.create_task(edge.request("http", path, b"", guesser=GUESSER)) for _ in range(3)]
    outcomes = [request.result() for request in requests]
    assert [outcome.status_code for outcome in outcomes] == [200, 200, 429]
    assert outcomes[2].reason_phrase == "too many messages of this endpoint are waiting"
    assert outcomes[2].retry_after == 1


async def test_one_tenant_has_only_its_share_of_what_is_in_progress(
    edge: Edge, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OF_TENANT", 1)
    await backend.serve_extension()
    async with asyncio.TaskGroup() as tasks:
        requests = [
            tasks.create_task(edge.request("mqtt", backend.path(f"{token}/get/1"), b"", guesser=GUESSER))
            for token in (TOKEN, OTHER_TOKEN)
        ]
    assert sorted(request.result().status_code for request in requests) == [200, 429]
    assert not edge._in_progress.total()


async def test_an_endpoint_over_its_rate_is_told_when_to_come_again(edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    edge._rates = RateLimit("endpoint", 0.001, 10)
    outcomes = [await edge.request("http", backend.path(f"{TOKEN}/get"), b"", guesser=GUESSER) for _ in range(2)]
    assert [(outcome.status_code, outcome.retry_after) for outcome in outcomes] == [(200, 0), (429, 1000)]


async def test_an_endpoint_unaware_extension_is_not_told_who_asks(edge: Edge, backend: Backend) -> None:
    await backend.rpc.serve(CLIENT_DATA, backend.unaware, backend.extend)
    await backend.rpc.bus.flush(5)
    outcome = await edge.request("mqtt", f"kp1/{APP_VERSION}/{backend.unaware}/time/7", b"", guesser=GUESSER)
    assert outcome.status_code == 200
    (request,) = backend.received
    assert (request.endpoint_id, request.resource_path, request.request_id) == (None, "/time", 7)
    assert backend.validations == 0


@pytest.mark.parametrize("allowed", ["other", {}, 5, []])
async def test_a_configuration_that_allows_nothing_readable_allows_nothing(
    edge: Edge, backend: Backend, allowed: object
) -> None:
    backend.config = {"allowed-extension-instances": allowed}
    outcome = await edge.request("mqtt", f"kp1/{APP_VERSION}/other/{TOKEN}/get/1", b"", guesser=GUESSER)
    assert outcome.status_code == 403
