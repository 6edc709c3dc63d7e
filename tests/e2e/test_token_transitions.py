"""Every change of a token's status over REST and NATS: its answer, its event, and what the device notices of it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from nats.aio.client import Client

from .conftest import APPLICATION, Endpoint, MqttDevice, Platform, mqtt_device
from .test_nats_clients import EVENTS, HEADER, NatsClient, connected, decoded, field, record

INACTIVE, ACTIVE, SUSPENDED, REVOKED = STATUSES = ("Inactive", "Active", "Suspended", "Revoked")
REFUSED = (SUSPENDED, REVOKED)
LEGAL = {
    (INACTIVE, ACTIVE),
    *((before, SUSPENDED) for before in (INACTIVE, ACTIVE)),
    *((before, REVOKED) for before in (INACTIVE, ACTIVE, SUSPENDED)),
    (SUSPENDED, ACTIVE),
}
TRANSITION_REQUEST = record(
    "ipc.ecap.gen.v1.EndpointTokenStatusTransitionRequest",
    *HEADER,
    field("appName"),
    field("token"),
    field("targetStatus"),
)
TRANSITION_RESPONSE = record(
    "ipc.ecap.gen.v1.EndpointTokenStatusTransitionResponse",
    *HEADER,
    field("statusCode", "int"),
    field("reasonPhrase", ["null", "string"]),
)
REVOKED_EVENT = "cm.endpoint.token.revoked"

Answer = tuple[int, str | None]
"""Status code, and the reason of a refusal."""
Change = Callable[[Endpoint, str], Awaitable[Answer]]


@pytest.fixture
async def bus(platform: Platform) -> AsyncIterator[Client]:
    async with connected(platform) as connection:
        yield connection


@pytest.fixture(params=["REST", "NATS"])
def change(request: pytest.FixtureRequest, platform: Platform, bus: Client) -> Change:
    async def over_rest(endpoint: Endpoint, target: str) -> Answer:
        path = f"{token_path(platform, endpoint)}/status"
        answer = platform.rest.put(path, json={"status": target})
        if answer.is_success:
            assert answer.json()["status"] == target
            assert ("cutOff" in answer.json()) == (target in REFUSED)
        return answer.status_code, answer.json().get("message")

    async def over_nats(endpoint: Endpoint, target: str) -> Answer:
        values = {"appName": APPLICATION, "token": endpoint.token, "targetStatus": target}
        subject = "cm.ecap.ep-token-status-transition-request"
        answer, _ = await NatsClient(bus).call(subject, TRANSITION_REQUEST, TRANSITION_RESPONSE, **values)
        return answer["statusCode"], answer["reasonPhrase"]

    return over_rest if request.param == "REST" else over_nats


def token_path(platform: Platform, endpoint: Endpoint) -> str:
    (token,) = platform.tokens(endpoint)
    return f"/cm/api/v1/endpoints/{endpoint.id}/tokens/{token['endpointTokenId']}"


async def status_code_of(device: MqttDevice, endpoint: Endpoint) -> int:
    """That of the answer to a request of the device."""
    (answer,) = await device.publish(endpoint.path("/get/1"), b"{}")
    return 200 if answer.topic.endswith("/status") else int(json.loads(answer.payload)["statusCode"])


async def bring_to(status: str, platform: Platform, endpoint: Endpoint, device: MqttDevice) -> None:
    if status is not INACTIVE:
        assert await status_code_of(device, endpoint) == 200
    if status in REFUSED:
        platform.move_token(endpoint, status)
    assert platform.tokens(endpoint)[0]["status"] == status


@pytest.mark.parametrize("target", STATUSES)
@pytest.mark.parametrize("before", STATUSES)
async def test_a_change_is_answered_announced_and_felt_as_the_table_says(
    platform: Platform, bus: Client, change: Change, before: str, target: str
) -> None:
    endpoint, is_legal = platform.register(), (before, target) in LEGAL
    async with mqtt_device(platform) as device:
        await bring_to(before, platform, endpoint, device)
        events = await bus.subscribe(f"kaa.v1.events.{REVOKED_EVENT}")
        await bus.flush()

        refusal = f"a token cannot go from {before} to {target}"
        assert await change(endpoint, target) == ((200, None) if is_legal else (409, refusal))
        after = target if is_legal else before
        token = platform.tokens(endpoint)[0]
        assert token["status"] == after

        await bus.flush()
        heard = [decoded(EVENTS[REVOKED_EVENT], (await events.next_msg()).data) for _ in range(events.pending_msgs)]
        announced = [event["tokenIds"] for event in heard if event["endpointId"] == endpoint.id]
        assert announced == ([[token["endpointTokenId"]]] if is_legal and target in REFUSED else [])
        assert await status_code_of(device, endpoint) == (401 if after in REFUSED else 200)


@pytest.mark.parametrize("before", STATUSES)
async def test_a_deletion_is_answered_announced_and_felt_from_every_status(
    platform: Platform, bus: Client, before: str
) -> None:
    endpoint = platform.register()
    async with mqtt_device(platform) as device:
        await bring_to(before, platform, endpoint, device)
        events = await bus.subscribe(f"kaa.v1.events.{REVOKED_EVENT}")
        await bus.flush()
        path = token_path(platform, endpoint)

        (confirmation,) = platform.rest.delete(path).raise_for_status().json()["cutOff"]["confirmed"]
        assert confirmation["endedSessions"] == (before == ACTIVE)
        assert platform.rest.delete(path).status_code == 404
        assert decoded(EVENTS[REVOKED_EVENT], (await events.next_msg()).data)["endpointId"] == endpoint.id
        assert await status_code_of(device, endpoint) == 401
