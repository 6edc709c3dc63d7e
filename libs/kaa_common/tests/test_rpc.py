import asyncio
import contextlib
import logging
import re
from typing import Any

import pytest

from kaa_common import log
from kaa_common import rpc as rpc_module
from kaa_common.avro import decode, encode
from kaa_common.bus import BusMessage, NatsBus, connect
from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import BadRequest, DeadlineExceeded, KaaError, NotFound, TooManyRequests, Unavailable
from kaa_common.messages.declared import Endpoint
from kaa_common.messages.ecap import (
    TOKEN_REVOKED,
    VALIDATE_TOKEN,
    EndpointTokenRevokedEvent,
    EndpointTokenValidationRequest,
    EndpointTokenValidationResponse,
)
from kaa_common.messages.efe import FILTER_ACTIVATED, EndpointFilterActivatedEvent
from kaa_common.messages.epmmp import GET_METADATA, EndpointMetadataGetRequest, EndpointMetadataGetResponse
from kaa_common.messages.protocols import PROTOCOLS
from kaa_common.rpc import Reply, Rpc, answer_header, event_header, failure, request_header
from support.examples import example_of
from support.nats_server import NatsServer
from support.waiting import until

ENDPOINTS = [endpoint for protocol in PROTOCOLS for endpoint in protocol.endpoints]


def token_request(token: str = "t", seconds: float = 5.0, correlation_id: str = "") -> EndpointTokenValidationRequest:
    header = request_header(Deadline.after(seconds), correlation_id)
    return EndpointTokenValidationRequest(**header, app_name="app", token=token)


def token_response(request: EndpointTokenValidationRequest) -> EndpointTokenValidationResponse:
    return EndpointTokenValidationResponse(
        **answer_header(request), token_id=request.token, endpoint_id=None, status_code=200
    )


async def validate(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
    return Reply(token_response(request))


@pytest.fixture
async def subject_listener(bus: NatsBus) -> list[BusMessage]:
    """Everything that is published, as any client of NATS sees it."""
    messages: list[BusMessage] = []

    async def keep(message: BusMessage) -> None:
        messages.append(message)

    await bus.subscribe("kaa.>", keep)
    return messages


async def test_a_request_is_answered(rpc: Rpc) -> None:
    await rpc.serve(VALIDATE_TOKEN, "cm", validate)

    reply = await rpc.call(VALIDATE_TOKEN, "cm", token_request("abc"))

    assert reply.message.status_code == 200
    assert reply.message.token_id == "abc"


async def test_requests_and_answers_use_the_subjects_of_3_ism(rpc: Rpc, subject_listener: list[BusMessage]) -> None:
    await rpc.serve(VALIDATE_TOKEN, "cm", validate)
    request = token_request()

    await rpc.call(VALIDATE_TOKEN, "cm", request)

    asked, answered = subject_listener
    assert asked.subject == "kaa.v1.service.cm.ecap.ep-token-request"
    assert asked.reply == answered.subject == f"kaa.v1.replica.{rpc.replica_id}.ecap.ep-token-response"
    assert decode(EndpointTokenValidationRequest, asked.data) == request
    assert decode(EndpointTokenValidationResponse, answered.data).correlation_id == request.correlation_id


async def test_answers_are_matched_by_their_correlation_id_whatever_their_order(rpc: Rpc) -> None:
    slow_may_go = asyncio.Event()

    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        if request.token == "slow":
            await slow_may_go.wait()
        else:
            slow_may_go.set()
        return Reply(token_response(request))

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(rpc.call(VALIDATE_TOKEN, "cm", token_request("slow")))
        quick = tasks.create_task(rpc.call(VALIDATE_TOKEN, "cm", token_request("quick")))

    assert slow.result().message.token_id == "slow"
    assert quick.result().message.token_id == "quick"


async def test_headers_travel_both_ways(rpc: Rpc, subject_listener: list[BusMessage]) -> None:
    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        return Reply(token_response(request), {"Kaa-Endpoint-Revision": "3"})

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)

    reply = await rpc.call(VALIDATE_TOKEN, "cm", token_request(), headers={"Traceparent": "00-1"})

    assert reply.headers["Kaa-Endpoint-Revision"] == "3"
    assert subject_listener[0].headers == {"Traceparent": "00-1"}


async def test_a_service_that_nobody_runs_is_unavailable_at_once(rpc: Rpc) -> None:
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable, match="nobody serves cm-absent"):
            await rpc.call(VALIDATE_TOKEN, "cm-absent", token_request(seconds=30))


async def test_all_of_many_calls_to_a_service_that_nobody_runs_are_unavailable_at_once(rpc: Rpc) -> None:
    async def outcome() -> str:
        try:
            await rpc.call(VALIDATE_TOKEN, "cm-absent", token_request(seconds=30))
        except Unavailable:
            return "unavailable"
        return "answered"

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(outcome()) for _ in range(200)]
    assert {call.result() for call in calls} == {"unavailable"}


async def test_a_call_to_nobody_does_not_fail_the_calls_that_were_taken(rpc: Rpc, nats_server: NatsServer) -> None:
    taken = asyncio.Event()
    go_on = asyncio.Event()

    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        taken.set()
        await go_on.wait()
        return Reply(token_response(request))

    async def call_until_nobody_serves() -> None:
        while True:
            with contextlib.suppress(DeadlineExceeded):
                await rpc.call(VALIDATE_TOKEN, "cm-leaving", token_request(seconds=0.05))

    async with connect(nats_server.url, "leaving") as leaving, asyncio.TaskGroup() as tasks:
        await Rpc(leaving, "leaving").serve(VALIDATE_TOKEN, "cm-leaving", handle)
        await leaving.flush(1)
        call = tasks.create_task(rpc.call(VALIDATE_TOKEN, "cm-leaving", token_request()))
        await taken.wait()
        tasks.create_task(leaving.leave_queues())
        with pytest.raises(Unavailable):
            await call_until_nobody_serves()
        go_on.set()

    assert call.result().message.status_code == 200


async def test_a_silent_service_costs_the_deadline_and_no_more(rpc: Rpc, bus: NatsBus) -> None:
    async def ignore(_: BusMessage) -> None:
        pass

    await bus.subscribe(VALIDATE_TOKEN.subject("cm-silent"), ignore)

    with pytest.raises(DeadlineExceeded, match="cm-silent did not answer in time"):
        await rpc.call(VALIDATE_TOKEN, "cm-silent", token_request(seconds=0.05))


async def test_a_request_without_time_left_is_not_sent() -> None:
    with pytest.raises(DeadlineExceeded):
        request_header(Deadline(now_ms() - 1))


async def test_an_answer_that_comes_too_late_is_ignored(rpc: Rpc, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kaa_common.rpc")
    too_late = asyncio.Event()

    async def handle(message: BusMessage) -> None:
        await too_late.wait()
        request = decode(EndpointTokenValidationRequest, message.data)
        await rpc.bus.publish(message.reply, encode(token_response(request)))

    await rpc.bus.subscribe(VALIDATE_TOKEN.subject("cm-late"), handle)
    with pytest.raises(DeadlineExceeded):
        await rpc.call(VALIDATE_TOKEN, "cm-late", token_request(seconds=0.05))
    too_late.set()

    await until(lambda: "nobody waits for an answer" in caplog.text)


async def test_what_answers_no_request_goes_to_whoever_takes_it_unless_it_is_a_late_answer(rpc: Rpc) -> None:
    taken: list[str] = []

    async def take(message: BusMessage) -> None:
        taken.append(decode(EndpointTokenValidationResponse, message.data).correlation_id)

    rpc.take_unasked(VALIDATE_TOKEN, take)
    subject = f"kaa.v1.replica.{rpc.replica_id}.ecap.ep-token-response"
    with pytest.raises(Unavailable):
        await rpc.call(VALIDATE_TOKEN, "nobody", token_request(correlation_id="given up"))
    for correlation_id in ("given up", "unasked"):
        await rpc.bus.publish(subject, encode(token_response(token_request(correlation_id=correlation_id))))
    await rpc.bus.publish(subject.replace("ecap", "cap"), encode(token_response(token_request())))
    await rpc.serve(VALIDATE_TOKEN, "cm", validate)
    await rpc.call(VALIDATE_TOKEN, "cm", token_request(correlation_id="asked"))
    assert taken == ["unasked"]


async def test_an_expired_request_is_dropped_before_work_starts(rpc: Rpc) -> None:
    handled: list[str] = []

    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        handled.append(request.token)
        return Reply(token_response(request))

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)
    expired = EndpointTokenValidationRequest(
        correlation_id="1", timestamp=now_ms() - 1000, timeout=999, app_name="app", token="expired"
    )
    await rpc.bus.publish(VALIDATE_TOKEN.subject("cm"), encode(expired))
    endless = EndpointTokenValidationRequest(
        correlation_id="2", timestamp=now_ms() - 100_000_000, timeout=0, app_name="app", token="endless"
    )
    await rpc.bus.publish(VALIDATE_TOKEN.subject("cm"), encode(endless))

    await until(lambda: handled == ["endless"])


@pytest.mark.parametrize(
    ("error", "status_code", "reason_phrase"),
    [
        (NotFound("unknown token"), 404, "unknown token"),
        (BadRequest(), 400, "Bad Request"),
        (Unavailable("the store is away"), 503, "the store is away"),
        (KaaError("shown"), 500, "internal error"),
        (RuntimeError("secret"), 500, "internal error"),
        (TimeoutError("secret"), 500, "internal error"),
    ],
)
async def test_an_error_of_the_handler_becomes_a_status_code(
    rpc: Rpc, error: Exception, status_code: int, reason_phrase: str
) -> None:
    async def handle(_: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        raise error

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)

    answer = (await rpc.call(VALIDATE_TOKEN, "cm", token_request())).message

    assert (answer.status_code, answer.reason_phrase) == (status_code, reason_phrase)


async def test_only_an_unexpected_error_of_the_handler_is_logged_with_its_traceback(
    rpc: Rpc, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [NotFound("expected"), RuntimeError("unexpected")]

    async def handle(_: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        raise errors.pop(0)

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)
    await rpc.call(VALIDATE_TOKEN, "cm", token_request())
    await rpc.call(VALIDATE_TOKEN, "cm", token_request())

    assert [record.exc_info[1].args for record in caplog.records if record.exc_info and record.exc_info[1]] == [
        ("unexpected",)
    ]


async def test_work_that_passes_the_deadline_is_stopped(rpc: Rpc) -> None:
    stopped = asyncio.Event()

    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return Reply(token_response(request))

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)
    await rpc.bus.publish(VALIDATE_TOKEN.subject("cm"), encode(token_request(seconds=0.05)))

    await asyncio.wait_for(stopped.wait(), 5)


async def test_an_answer_that_cannot_be_encoded_is_a_500(rpc: Rpc) -> None:
    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        wrong: Any = 5
        return Reply(
            EndpointTokenValidationResponse(**answer_header(request), token_id=wrong, endpoint_id=None, status_code=200)
        )

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)

    assert (await rpc.call(VALIDATE_TOKEN, "cm", token_request())).message.status_code == 500


async def test_an_answer_longer_than_the_bus_takes_is_a_413(rpc: Rpc) -> None:
    async def handle(request: EndpointMetadataGetRequest) -> Reply[EndpointMetadataGetResponse]:
        answer = EndpointMetadataGetResponse(
            **answer_header(request), endpoint_id=request.endpoint_id, payload=bytes(2 * 1024 * 1024), status_code=200
        )
        return Reply(answer)

    await rpc.serve(GET_METADATA, "epr", handle)
    request = EndpointMetadataGetRequest(**request_header(Deadline.after(5)), endpoint_id="e")

    answer = (await rpc.call(GET_METADATA, "epr", request)).message

    assert (answer.status_code, answer.endpoint_id) == (413, "e")


async def test_more_calls_than_may_wait_are_refused(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_module, "MAX_PENDING_CALLS", 2)

    async def ignore(_: BusMessage) -> None:
        pass

    async def call() -> None:
        with pytest.raises(DeadlineExceeded):
            await rpc.call(VALIDATE_TOKEN, "cm", token_request(seconds=0.1))

    await rpc.bus.subscribe(VALIDATE_TOKEN.subject("cm"), ignore)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call())
        tasks.create_task(call())
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests):
            await rpc.call(VALIDATE_TOKEN, "cm", token_request())
    # Their places are free again.
    await call()


async def test_a_correlation_id_cannot_be_waited_for_twice(rpc: Rpc) -> None:
    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        with pytest.raises(ValueError, match="one correlation id"):
            await rpc.call(VALIDATE_TOKEN, "cm", request)
        return Reply(token_response(request))

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)

    assert (await rpc.call(VALIDATE_TOKEN, "cm", token_request(correlation_id="same"))).message.status_code == 200


async def test_garbage_on_any_subject_is_ignored(rpc: Rpc, caplog: pytest.LogCaptureFixture) -> None:
    revoked: list[EndpointTokenRevokedEvent] = []

    async def listen(event: EndpointTokenRevokedEvent) -> None:
        revoked.append(event)

    await rpc.serve(VALIDATE_TOKEN, "cm", validate)
    await rpc.listen(TOKEN_REVOKED, "cm", listen)
    for subject in (
        VALIDATE_TOKEN.subject("cm"),
        TOKEN_REVOKED.subject("cm"),
        f"kaa.v1.replica.{rpc.replica_id}.ecap.ep-token-response",
    ):
        for garbage in (b"", b"\xff" * 20, b"\x02", b'{"json": true}'):
            await rpc.bus.publish(subject, garbage, reply="test.nobody")

    assert (await rpc.call(VALIDATE_TOKEN, "cm", token_request())).message.status_code == 200
    event = EndpointTokenRevokedEvent(
        **event_header(), app_name="a", endpoint_id="e", token_ids=("t",), originator_replica_id="r"
    )
    await rpc.emit(TOKEN_REVOKED, "cm", event)
    await until(lambda: revoked == [event])
    assert all(record.exc_info is None for record in caplog.records)
    assert len([record for record in caplog.records if "ignored" in record.getMessage()]) == 12


async def test_an_answer_that_is_not_the_expected_record_leaves_the_call_to_its_deadline(rpc: Rpc) -> None:
    async def handle(message: BusMessage) -> None:
        request = decode(EndpointTokenValidationRequest, message.data)
        correlation_id = request.correlation_id.encode()
        await rpc.bus.publish(message.reply, bytes([len(correlation_id) * 2]) + correlation_id)

    await rpc.bus.subscribe(VALIDATE_TOKEN.subject("cm"), handle)
    with pytest.raises(DeadlineExceeded):
        await rpc.call(VALIDATE_TOKEN, "cm", token_request(seconds=0.05))


async def test_replicas_of_a_service_share_its_requests(rpc: Rpc, nats_server: NatsServer) -> None:
    handled: list[str] = []

    def handler_of(replica: str) -> Any:
        async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
            handled.append(replica)
            return Reply(token_response(request))

        return handle

    async with connect(nats_server.url, "other") as other:
        await rpc.serve(VALIDATE_TOKEN, "cm", handler_of("first"))
        await Rpc(other, "other").serve(VALIDATE_TOKEN, "cm", handler_of("second"))
        await other.flush(1)
        for _ in range(50):
            await rpc.call(VALIDATE_TOKEN, "cm", token_request())

    assert len(handled) == 50
    assert set(handled) == {"first", "second"}


async def test_events_are_heard_by_every_listener_in_their_order(rpc: Rpc, nats_server: NatsServer) -> None:
    here: list[str] = []
    there: list[str] = []

    def keep_in(heard: list[str]) -> Any:
        async def keep(event: EndpointTokenRevokedEvent) -> None:
            heard.append(event.endpoint_id)

        return keep

    async with connect(nats_server.url, "other") as other:
        await rpc.listen(TOKEN_REVOKED, "cm", keep_in(here))
        await Rpc(other, "other").listen(TOKEN_REVOKED, "cm", keep_in(there))
        await other.flush(1)
        expected = [str(number) for number in range(50)]
        for endpoint_id in expected:
            event = EndpointTokenRevokedEvent(
                **event_header(), app_name="a", endpoint_id=endpoint_id, token_ids=(), originator_replica_id="r"
            )
            await rpc.emit(TOKEN_REVOKED, "cm", event)
        await until(lambda: len(here) == len(there) == 50)

    assert here == there == expected


async def test_one_replica_of_a_queue_hears_each_event(rpc: Rpc, nats_server: NatsServer) -> None:
    heard: list[str] = []

    async def keep(event: EndpointTokenRevokedEvent) -> None:
        heard.append(event.endpoint_id)

    async with connect(nats_server.url, "other") as other:
        await rpc.listen(TOKEN_REVOKED, "cm", keep, queue="epr")
        await Rpc(other, "other").listen(TOKEN_REVOKED, "cm", keep, queue="epr")
        await other.flush(1)
        expected = [str(number) for number in range(20)]
        for endpoint_id in expected:
            event = EndpointTokenRevokedEvent(
                **event_header(), app_name="a", endpoint_id=endpoint_id, token_ids=(), originator_replica_id="r"
            )
            await rpc.emit(TOKEN_REVOKED, "cm", event)
        await until(lambda: len(heard) >= 20)
        await rpc.bus.flush(1)
        await other.flush(1)

    assert sorted(heard) == sorted(expected)


async def test_an_event_names_what_it_is_about_in_its_subject(rpc: Rpc, subject_listener: list[BusMessage]) -> None:
    heard: list[str] = []

    async def keep(event: EndpointFilterActivatedEvent) -> None:
        heard.append(event.filter_id)

    await rpc.listen(FILTER_ACTIVATED, "epr", keep)
    event = EndpointFilterActivatedEvent(
        **event_header(), originator_replica_id="r", filter_id="f-1", application_name="app", filter_name=None
    )
    await rpc.emit(FILTER_ACTIVATED, "epr", event, "f-1")

    await until(lambda: heard == ["f-1"])
    assert subject_listener[0].subject == "kaa.v1.events.epr.endpoint-filter.f-1.activated"


async def test_the_correlation_id_of_a_request_is_that_of_the_log_and_the_events_it_causes(rpc: Rpc) -> None:
    seen: list[str] = []

    async def handle(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        seen.extend((log.correlation_id.get(), event_header()["correlation_id"]))
        return Reply(token_response(request))

    await rpc.serve(VALIDATE_TOKEN, "cm", handle)
    await rpc.call(VALIDATE_TOKEN, "cm", token_request(correlation_id="c-1"))

    assert seen == ["c-1", "c-1"]
    assert re.fullmatch("[0-9a-f]{32}", event_header()["correlation_id"])


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.request_type)
def test_every_endpoint_can_answer_with_a_failure(endpoint: Endpoint[Any, Any]) -> None:
    request = example_of(endpoint.request)

    answer = decode(endpoint.response, encode(failure(endpoint, request, 404, "unknown")))

    assert (answer.correlation_id, answer.status_code, answer.reason_phrase) == (request.correlation_id, 404, "unknown")
    if hasattr(answer, "endpoint_id") and hasattr(request, "endpoint_id"):
        assert answer.endpoint_id == request.endpoint_id
    assert getattr(answer, "payload", None) is None


async def test_each_answer_is_a_line_for_whoever_debugs_without_what_was_asked(
    rpc: Rpc, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kaa_common.rpc")

    async def know_one(request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        if request.token != "s3cr3t-good":
            raise NotFound("unknown token")
        return Reply(token_response(request))

    await rpc.serve(VALIDATE_TOKEN, "cm", know_one)
    for token in ("s3cr3t-good", "s3cr3t-bad"):
        await rpc.call(VALIDATE_TOKEN, "cm", token_request(token))
    assert [record.getMessage() for record in caplog.records if "answered" in record.getMessage()] == [
        "answered ep-token-request: 200",
        "answered ep-token-request: 404 unknown token",
    ]
    assert "s3cr3t" not in caplog.text


async def test_who_stops_answering_is_logged_once_and_so_is_the_return(
    rpc: Rpc, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kaa_common.rpc")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await rpc.call(VALIDATE_TOKEN, "cm-away", token_request())
    await rpc.serve(VALIDATE_TOKEN, "cm-away", validate)
    await rpc.bus.flush(5)
    for _ in range(3):
        await rpc.call(VALIDATE_TOKEN, "cm-away", token_request())

    assert [record.getMessage() for record in caplog.records] == [
        "cm-away does not answer: nobody serves cm-away",
        "cm-away answers again",
    ]
