"""A NATS client that knows nothing of this code: nats-py, fastavro, and the schemas as the RFCs publish them.

It validates tokens (16/ECAP), reads and patches metadata (19/EPMMP), speaks to the extension (4/ESP), and decodes every
event of an endpoint's life.
"""

import asyncio
import io
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import fastavro
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from .conftest import PATIENCE, Endpoint, Platform, mqtt_device

Record = dict[str, Any]
Schema = dict[str, Any]


def record(name: str, *fields: Record) -> Schema:
    namespace, _, short_name = name.rpartition(".")
    return {"type": "record", "namespace": f"org.kaaproject.{namespace}", "name": short_name, "fields": [*fields]}


def field(name: str, kind: Any = "string", **default: Any) -> Record:
    return {"name": name, "type": kind, **default}


CORRELATION, TIMESTAMP = field("correlationId"), field("timestamp", "long")
HEADER = (CORRELATION, TIMESTAMP, field("timeout", "long", default=0))
STATUS = (field("statusCode", "int"), field("reasonPhrase", ["null", "string"], default=None))
ORIGINATOR = field("originatorReplicaId")

TOKEN_REQUEST = record("ipc.ecap.gen.v1.EndpointTokenValidationRequest", *HEADER, field("appName"), field("token"))
TOKEN_RESPONSE = record(
    "ipc.ecap.gen.v1.EndpointTokenValidationResponse",
    *HEADER,
    field("tokenId", ["string", "null"]),
    field("endpointId", ["string", "null"]),
    *STATUS,
)
GET_REQUEST = record(
    "ipc.epmmp.gen.v1.EndpointMetadataGetRequest",
    *HEADER,
    field("endpointId"),
    field("include", {"type": "array", "items": "string"}, default=[]),
    field("includeMetadata", "boolean", default=True),
)
GET_RESPONSE = record(
    "ipc.epmmp.gen.v1.EndpointMetadataGetResponse",
    *HEADER,
    field("endpointId"),
    field("eTag", ["null", "string"], default=None),
    field("payload", ["null", "bytes"], default=None),
    *STATUS,
    field("appVersionName", ["null", "string"], default=None),
)
PATCH_REQUEST = record(
    "ipc.epmmp.gen.v1.EndpointMetadataPatchRequest",
    *HEADER,
    field("endpointId"),
    field("ifMatch", ["null", "string"], default=None),
    field("patch", "bytes"),
)
PATCH_RESPONSE = record("ipc.epmmp.gen.v1.EndpointMetadataPatchResponse", *HEADER, field("endpointId"), *STATUS)
CLIENT_DATA = record(
    "ipc.esp.gen.v1.ClientData",
    *HEADER,
    field("appVersionName"),
    field("endpointId", ["string", "null"]),
    field("resourcePath"),
    field("requestId", ["int", "null"]),
    field("payload", "bytes"),
    field("configName", ["null", "string"], default=None),
)
EXTENSION_DATA = record(
    "ipc.esp.gen.v1.ExtensionData",
    *HEADER,
    field("appVersionName", ["string", "null"]),
    field("extensionInstanceName", ["string", "null"]),
    field("endpointId", ["string", "null"]),
    field("resourcePath"),
    field("requestId", ["int", "null"]),
    field("payload", ["bytes", "null"]),
    *STATUS,
)

JSON_TEXTS = {"type": "map", "values": ["null", "string"]}
UPDATED_KEY = record(
    "ipc.event.gen.v1.endpoint.metadata.MetadataKeyUpdatedDto",
    field("newValue", ["null", "string"]),
    field("oldValue", ["null", "string"]),
)
LIFECYCLE = (*HEADER, field("appVersionName"), field("endpointId"), ORIGINATOR)
CONNECTIVITY = (*HEADER, field("endpoints", {"type": "map", "values": "string"}), ORIGINATOR)
CONFIGURATION = (
    CORRELATION,
    TIMESTAMP,
    ORIGINATOR,
    *(field(name, ["null", "string"], default=None) for name in ("tenantID", "appName", "appVerName")),
)
EVENTS: Mapping[str, Schema] = {
    "epr.endpoint.lifecycle.registered": record("ipc.event.gen.v1.endpoint.lifecycle.RegisteredEvent", *LIFECYCLE),
    "epr.endpoint.lifecycle.unregistered": record("ipc.event.gen.v1.endpoint.lifecycle.UnregisteredEvent", *LIFECYCLE),
    "epr.endpoint.metadata.updated": record(
        "ipc.event.gen.v1.endpoint.metadata.MetadataUpdatedEvent",
        *HEADER,
        field("appVersionName"),
        field("endpointId"),
        field("removed", JSON_TEXTS),
        field("added", JSON_TEXTS),
        field("updated", {"type": "map", "values": UPDATED_KEY}),
        ORIGINATOR,
    ),
    "kpc.endpoint.connectivity.connected": record(
        "ipc.event.gen.v1.endpoint.connectivity.ConnectedEvent", *CONNECTIVITY
    ),
    "kpc.endpoint.connectivity.disconnected": record(
        "ipc.event.gen.v1.endpoint.connectivity.DisconnectedEvent", *CONNECTIVITY
    ),
    "cm.endpoint.token.revoked": record(
        "ipc.ecap.gen.v1.EndpointTokenRevokedEvent",
        *HEADER,
        field("appName"),
        field("endpointId"),
        field("tokenIds", {"type": "array", "items": "string"}),
        ORIGINATOR,
    ),
    "tekton.service.configuration.upsert": record(
        "scmp.event.gen.v1.service.configuration.BroadcastConfigurationUpdateEvent", *CONFIGURATION
    ),
}


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    record: Record
    headers: Mapping[str, str]

    def is_about(self, endpoint: Endpoint) -> bool:
        record = self.record
        mentioned = {record.get("endpointId"), record.get("appVerName"), *record.get("endpoints", {})}
        return bool(mentioned & {endpoint.id, endpoint.app_version})


def encoded(schema: Schema, values: Record) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), values, strict_allow_default=True)
    return out.getvalue()


def decoded(schema: Schema, data: bytes) -> Record:
    """The one datum that the data is."""
    stream = io.BytesIO(data)
    value = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    assert stream.read() == b""
    assert isinstance(value, dict)
    return value


class NatsClient:
    """A replica of some service of somebody else's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.replica_id = f"plain-{uuid.uuid4().hex}"

    async def call(self, subject: str, request: Schema, response: Schema, **values: Any) -> tuple[Record, Msg]:
        """Ask a service instance; the answer comes to this replica, with the correlation id of the question."""
        *_, protocol, message_type = subject.split(".")
        answers = await self._client.subscribe(f"kaa.v1.replica.{self.replica_id}.{protocol}.>")
        header = {"correlationId": uuid.uuid4().hex, "timestamp": time.time_ns() // 10**6, "timeout": 5000}
        reply = f"kaa.v1.replica.{self.replica_id}.{protocol}.{message_type.replace('request', 'response')}"
        await self._client.publish(f"kaa.v1.service.{subject}", encoded(request, header | values), reply=reply)
        message = await answers.next_msg(PATIENCE)
        await answers.unsubscribe()
        answer = decoded(response, message.data)
        assert message.subject == reply
        assert answer["correlationId"] == header["correlationId"]
        return answer, message


@asynccontextmanager
async def connected(platform: Platform) -> AsyncIterator[Client]:
    client = await nats.connect(platform.stack.nats_url)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[NatsClient]:
    async with connected(platform) as connection:
        yield NatsClient(connection)


async def test_a_token_is_validated(platform: Platform, client: NatsClient) -> None:
    endpoint = platform.register()
    subject = "cm.ecap.ep-token-request"
    answer, _ = await client.call(subject, TOKEN_REQUEST, TOKEN_RESPONSE, appName="devices", token=endpoint.token)
    (token,) = platform.tokens(endpoint)
    assert (answer["statusCode"], answer["reasonPhrase"]) == (200, None)
    assert (answer["endpointId"], answer["tokenId"]) == (endpoint.id, token["endpointTokenId"])
    assert token["status"] == "Active"

    for app_name, value, status_code in (
        ("devices", "unheardOf", 404),
        ("none", endpoint.token, 404),
        ("devices", "", 400),
    ):
        answer, _ = await client.call(subject, TOKEN_REQUEST, TOKEN_RESPONSE, appName=app_name, token=value)
        assert answer["statusCode"] == status_code
        assert answer["reasonPhrase"]
        assert (answer["endpointId"], answer["tokenId"]) == (None, None)

    platform.move_token(endpoint, "Suspended")
    answer, _ = await client.call(subject, TOKEN_REQUEST, TOKEN_RESPONSE, appName="devices", token=endpoint.token)
    assert (answer["statusCode"], answer["reasonPhrase"]) == (403, "the token is suspended")


async def test_metadata_is_read_and_patched_if_it_is_still_the_same(platform: Platform, client: NatsClient) -> None:
    endpoint = platform.register(metadata=b'{"a":1,"b":[2.0]}')

    async def get(**values: Any) -> Record:
        subject = "epr.epmmp.ep-metadata-get-request"
        answer, message = await client.call(subject, GET_REQUEST, GET_RESPONSE, endpointId=endpoint.id, **values)
        assert message.headers is not None
        assert f'"{message.headers["Kaa-Endpoint-Revision"]}"' == answer["eTag"]
        return answer

    async def patch(operations: list[Record], if_match: str | None) -> int:
        values = {"endpointId": endpoint.id, "patch": json.dumps(operations).encode(), "ifMatch": if_match}
        answer, _ = await client.call("epr.epmmp.ep-metadata-patch-request", PATCH_REQUEST, PATCH_RESPONSE, **values)
        assert answer["endpointId"] == endpoint.id
        status_code: int = answer["statusCode"]
        return status_code

    before = await get()
    assert (before["statusCode"], before["payload"]) == (200, b'{"a":1,"b":[2.0]}')
    assert (before["endpointId"], before["appVersionName"]) == (endpoint.id, endpoint.app_version)
    assert before["eTag"] == f'"{platform.metadata_and_revision(endpoint)[1]}"'
    assert (await get(include=["b"]))["payload"] == b'{"b":[2.0]}'
    assert (await get(includeMetadata=False))["payload"] is None

    operation = {"op": "replace", "path": "/a", "value": {"x.y": None}}
    assert await patch([operation], before["eTag"]) == 200
    assert await patch([{**operation, "value": 3}], before["eTag"]) == 412
    assert await patch([{**operation, "path": "/c"}], None) == 422
    assert await patch([{"op": "none"}], None) == 400
    after = await get()
    assert after["payload"] == platform.metadata(endpoint) == b'{"a":{"x.y":null},"b":[2.0]}'
    assert await patch([{"op": "remove", "path": "/a"}], after["eTag"]) == 200
    assert (await get())["payload"] == b'{"b":[2.0]}'


async def test_an_unknown_endpoint_is_not_found(client: NatsClient) -> None:
    subject = "epr.epmmp.ep-metadata-get-request"
    answer, _ = await client.call(subject, GET_REQUEST, GET_RESPONSE, endpointId="unheard-of")
    assert (answer["endpointId"], answer["statusCode"], answer["payload"]) == ("unheard-of", 404, None)


async def test_the_extension_serves_whoever_speaks_4_esp(platform: Platform, client: NatsClient) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')

    async def ask(resource: str, payload: bytes, request_id: int | None) -> Record:
        answer, _ = await client.call(
            "epmx.esp.ClientData",
            CLIENT_DATA,
            EXTENSION_DATA,
            appVersionName=endpoint.app_version,
            endpointId=endpoint.id,
            resourcePath=resource,
            requestId=request_id,
            payload=payload,
        )
        assert (answer["appVersionName"], answer["endpointId"]) == (endpoint.app_version, endpoint.id)
        assert (answer["resourcePath"], answer["requestId"]) == (resource, request_id)
        return answer

    read = await ask("/get", b"{}", 7)
    assert (read["statusCode"], read["payload"], read["extensionInstanceName"]) == (200, b'{"a":1}', "epmx")
    changed = await ask("/update/keys", b'{"b":2}', None)
    assert (changed["statusCode"], changed["payload"]) == (200, b"")
    refused = await ask("/update/keys", b"{}", 0)
    assert (refused["statusCode"], refused["reasonPhrase"]) == (400, "name at least one metadata key")
    assert (await ask("/put", b"{}", 0))["statusCode"] == 404
    assert platform.metadata(endpoint) == b'{"a":1,"b":2}'


async def test_a_request_that_has_expired_is_not_answered(platform: Platform) -> None:
    endpoint = platform.register()
    request = {"appName": "devices", "token": endpoint.token, "correlationId": "late", "timestamp": 1, "timeout": 1}
    async with connected(platform) as connection:
        answers = await connection.subscribe("expired.answers")
        expired = encoded(TOKEN_REQUEST, request)
        in_time = encoded(TOKEN_REQUEST, request | {"correlationId": "in time", "timeout": 0})
        for data in (expired, in_time):
            await connection.publish("kaa.v1.service.cm.ecap.ep-token-request", data, reply="expired.answers")
        answer = decoded(TOKEN_RESPONSE, (await answers.next_msg(PATIENCE)).data)
        assert (answer["correlationId"], answer["statusCode"]) == ("in time", 200)


async def test_every_event_of_an_endpoint_s_life_is_decoded_by_the_schemas_of_the_rfcs(platform: Platform) -> None:
    async with connected(platform) as connection:
        heard: list[Event] = []
        messages = await connection.subscribe("kaa.v1.events.>")
        await connection.flush()
        endpoint, token_id = await live(platform)
        async with asyncio.timeout(PATIENCE):
            while {event.name for event in heard if event.is_about(endpoint)} != set(EVENTS):
                message = await messages.next_msg(PATIENCE)
                name = message.subject.removeprefix("kaa.v1.events.")
                heard.append(Event(name, decoded(EVENTS[name], message.data), message.headers or {}))

    events = [event for event in heard if event.is_about(endpoint)]
    by_name = {name: [event.record for event in events if event.name == name] for name in EVENTS}
    assert all(event.record["originatorReplicaId"] and event.record["correlationId"] for event in events)

    created, *_ = by_name["tekton.service.configuration.upsert"]
    assert (created["tenantID"], created["appName"], created["appVerName"]) == (
        "default",
        "devices",
        endpoint.app_version,
    )
    for state in ("connected", "disconnected"):
        (event,) = by_name[f"kpc.endpoint.connectivity.{state}"]
        assert event["endpoints"] == {endpoint.id: endpoint.app_version}
    revoked, *_ = by_name["cm.endpoint.token.revoked"]
    assert (revoked["appName"], revoked["tokenIds"]) == ("devices", [token_id])

    first, second, third = by_name["epr.endpoint.metadata.updated"]
    assert (first["added"], first["updated"], first["removed"]) == (
        {"b": "2.0"},
        {"a": {"newValue": '{"x.y":[]}', "oldValue": "1"}},
        {},
    )
    assert (second["added"], second["removed"]) == ({"n": None}, {"b": "2.0"})
    assert (third["added"], third["updated"]) == ({}, {"n": {"newValue": '""', "oldValue": None}})

    changes = [event for event in events if event.name.startswith("epr.")]
    assert [change.name.rpartition(".")[2] for change in changes] == ["registered", *["updated"] * 3, "unregistered"]
    revisions = [int(change.headers["Kaa-Endpoint-Revision"]) for change in changes]
    assert all(after == before + 1 for before, after in itertools.pairwise(revisions))
    assert [change.headers["Nats-Msg-Id"] for change in changes] == [
        f"{endpoint.id}:{revision}:{change.name.removeprefix('epr.endpoint.')}"
        for change, revision in zip(changes, revisions, strict=True)
    ]


async def live(platform: Platform) -> tuple[Endpoint, str]:
    """All that can happen to an endpoint; also the id of its token."""
    endpoint = platform.register(platform.new_app_version({"kpc": {}}), b'{"a":1}')
    async with mqtt_device(platform) as device:
        await device.publish(endpoint.path("/update/keys"), b'{"a":{"x.y":[]},"b":2.0}')
        await device.publish(endpoint.path("/update"), b'{"a":{"x.y":[]},"n":null}')
        await device.publish(endpoint.path("/update/keys"), b'{"n":""}')
        await device.publish(endpoint.path("/update/keys"), b'{"n":""}')  # changes nothing
    (token,) = platform.tokens(endpoint)
    platform.move_token(endpoint, "Revoked")
    platform.rest.delete(f"/epr/api/v1/endpoints/{endpoint.id}").raise_for_status()
    return endpoint, token["endpointTokenId"]
