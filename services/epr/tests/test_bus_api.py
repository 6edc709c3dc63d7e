import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from epr import bus_api
from kaa_common import jsontext
from kaa_common.bus import NatsBus, connect
from kaa_common.clock import Deadline
from kaa_common.messages.declared import Endpoint, MessageHeader, Request, Response
from kaa_common.messages.epmmp import (
    GET_APP_VERSIONS,
    GET_METADATA,
    GET_METADATA_KEYS,
    PATCH_METADATA,
    UPDATE_METADATA_KEY,
    UPDATE_METADATA_KEY_BATCH,
    AppVersionsByEndpointsRequest,
    EndpointMetadataGetRequest,
    EndpointMetadataGetResponse,
    EndpointMetadataKeyBatchUpdateRequest,
    EndpointMetadataKeysGetRequest,
    EndpointMetadataKeyUpdateCommand,
    EndpointMetadataKeyUpdateRequest,
    EndpointMetadataPatchRequest,
    EndpointMetadataPatchResponse,
)
from kaa_common.rest import etag_of
from kaa_common.rpc import Reply, Rpc, request_header
from support.nats_server import NatsServer
from support.waiting import until

from .conftest import APP_VERSIONS, NASTY, Device, Events, Names, Replica, on_one_store


def header() -> MessageHeader:
    return request_header(Deadline.after(10))


class Service:
    """Another service that asks the register."""

    def __init__(self, rpc: Rpc, epr: str) -> None:
        self._rpc = rpc
        self._epr = epr

    async def ask(self, endpoint: Endpoint[Request, Response], request: Request) -> Reply[Response]:
        return await self._rpc.call(endpoint, self._epr, request)

    async def get(self, endpoint_id: str, *include: str) -> Reply[EndpointMetadataGetResponse]:
        return await self.ask(
            GET_METADATA, EndpointMetadataGetRequest(**header(), endpoint_id=endpoint_id, include=include)
        )

    async def patch(
        self, endpoint_id: str, patch: bytes, if_match: str | None = None
    ) -> Reply[EndpointMetadataPatchResponse]:
        request = EndpointMetadataPatchRequest(**header(), endpoint_id=endpoint_id, if_match=if_match, patch=patch)
        return await self.ask(PATCH_METADATA, request)

    async def update_key(self, endpoint_id: str, key: str, value: bytes) -> int:
        request = EndpointMetadataKeyUpdateRequest(
            **header(), endpoint_id=endpoint_id, metadata_key=key, metadata_value=value
        )
        return (await self.ask(UPDATE_METADATA_KEY, request)).message.status_code

    async def update_keys(self, *commands: tuple[str, str, bytes]) -> int:
        request = EndpointMetadataKeyBatchUpdateRequest(
            **header(),
            commands=tuple(
                EndpointMetadataKeyUpdateCommand(endpoint_id=endpoint_id, metadata_key=key, metadata_value=value)
                for endpoint_id, key, value in commands
            ),
        )
        return (await self.ask(UPDATE_METADATA_KEY_BATCH, request)).message.status_code


@pytest.fixture
async def service(nats_server: NatsServer, epr: Replica, names: Names) -> AsyncIterator[Service]:
    async with connect(nats_server.url, "service") as bus:
        rpc = Rpc(bus, f"service-{names.epr}")
        await rpc.start()
        yield Service(rpc, names.epr)


async def test_a_device_updates_and_reads_its_metadata(epr: Replica, device: Device, names: Names) -> None:
    endpoint = await epr.endpoint({"description": "kettle"})
    updated = await device.ask(endpoint.id, "/update/keys", b'{"model":"BFG 9000","mac":null}')
    assert (updated.status_code, updated.reason_phrase, updated.payload) == (200, None, b"")
    got = await device.ask(endpoint.id, "/get", b"{}")
    assert (got.status_code, got.payload) == (200, b'{"description":"kettle","model":"BFG 9000","mac":null}')
    assert (got.app_version_name, got.extension_instance_name) == ("kettle-v1", names.epmx)
    assert (got.endpoint_id, got.resource_path, got.request_id) == (endpoint.id, "/get", 42)


async def test_a_device_uses_every_operation(epr: Replica, device: Device) -> None:
    endpoint = await epr.endpoint({"a": 1, "b": 2})
    assert (await device.ask(endpoint.id, "/get/keys")).payload == b'["a","b"]'
    assert (await device.ask(endpoint.id, "/get", b'{"keys":["b","x"]}')).payload == b'{"b":2}'
    assert (await device.ask(endpoint.id, "/update", b'{"b":3,"c":[]}')).payload == b""
    assert (await device.ask(endpoint.id, "/get")).payload == b'{"b":3,"c":[]}'
    assert (await device.ask(endpoint.id, "/delete/keys", b'["b","x"]')).payload == b""
    assert (await device.ask(endpoint.id, "/get")).payload == b'{"c":[]}'


REFUSED_REQUESTS = [
    ("/nowhere", b"", "kettle-v1", 404),
    ("/get", b"", "unknown-v1", 404),
    ("/get", b"", "toaster-v1", 404),
    ("/update/keys", b'{"a":1}', "toaster-v1", 404),
    ("/get", b"[]", "kettle-v1", 400),
    ("/update", b"{}", "kettle-v1", 400),
    ("/update/keys", b'{"a":18446744073709551616}', "kettle-v1", 400),
    ("/delete/keys", b"[]", "kettle-v1", 400),
    ("/update/keys", b'{"a":"' + b"x" * 262_144 + b'"}', "kettle-v1", 413),
    ("/update/keys", b'{"room":1,"model":"x"}', "kettle-v2", 403),
    ("/get", b'{"keys":["hidden"]}', "kettle-v2", 403),
]


@on_one_store
async def test_a_device_is_told_what_is_wrong(epr: Replica, device: Device) -> None:
    endpoint = await epr.endpoint({"hidden": 1})
    for path, payload, app_version, status_code in REFUSED_REQUESTS:
        answer = await device.ask(endpoint.id, path, payload, app_version)
        assert (answer.status_code, answer.payload) == (status_code, None), (path, payload[:80])
        assert answer.reason_phrase
        assert len(answer.reason_phrase) <= 80
        assert (answer.resource_path, answer.request_id, answer.endpoint_id) == (path, 42, endpoint.id)
    assert (await epr.register.get(endpoint.id)).metadata == {"hidden": 1}


@on_one_store
async def test_a_device_without_an_endpoint_is_refused(device: Device) -> None:
    assert (await device.ask("unknown", "/get")).status_code == 404
    assert (await device.ask("unknown", "/update/keys", b'{"a":1}')).status_code == 404
    assert (await device.ask(None, "/get")).status_code == 400


@on_one_store
async def test_a_device_of_another_version_of_its_application_is_served(epr: Replica, device: Device) -> None:
    endpoint = await epr.endpoint({"room": 7, "hidden": 1})
    answer = await device.ask(endpoint.id, "/get", app_version="kettle-v2")
    assert (answer.status_code, answer.payload) == (200, b'{"room":7}')


async def test_requests_of_a_device_are_handled_in_their_order(epr: Replica, device: Device, bus: NatsBus) -> None:
    endpoint = await epr.endpoint({})
    answers: dict[int, bytes | None] = {}

    async def update_and_get(number: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(device.ask(endpoint.id, "/update/keys", b'{"n":%d}' % number))
            getting = tasks.create_task(device.ask(endpoint.id, "/get"))
        answers[number] = getting.result().payload

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(update_and_get(number))
    assert answers == {number: b'{"n":%d}' % number for number in range(20)}


async def test_every_value_comes_back_bit_for_bit(epr: Replica, device: Device, service: Service) -> None:
    endpoint = await epr.endpoint({})
    assert (await device.ask(endpoint.id, "/update", NASTY)).status_code == 200
    assert (await device.ask(endpoint.id, "/get")).payload == NASTY
    assert (await service.get(endpoint.id)).message.payload == NASTY

    patch = jsontext.dump([{"op": "add", "path": "", "value": {}}])
    assert (await service.patch(endpoint.id, patch)).message.status_code == 200
    patch = b'[{"op":"add","path":"","value":' + NASTY + b"}]"
    assert (await service.patch(endpoint.id, patch)).message.status_code == 200
    assert (await service.get(endpoint.id)).message.payload == NASTY

    assert await service.update_key(endpoint.id, "all", NASTY) == 200
    assert (await device.ask(endpoint.id, "/get", b'{"keys":["all"]}')).payload == b'{"all":' + NASTY + b"}"


async def test_many_devices_updating_at_once_lose_nothing(epr: Replica, device: Device, events: Events) -> None:
    endpoints = [await epr.endpoint({}) for _ in range(5)]

    async def update(endpoint_id: str, number: int) -> None:
        answer = await device.ask(endpoint_id, "/update/keys", b'{"k%d":%d}' % (number, number))
        assert answer.status_code == 200

    async with asyncio.TaskGroup() as tasks:
        for endpoint in endpoints:
            for number in range(10):
                tasks.create_task(update(endpoint.id, number))
    for endpoint in endpoints:
        found = await epr.register.get(endpoint.id)
        assert list(found.metadata) == [f"k{number}" for number in range(10)], "in the order sent"
        assert found.revision == endpoint.revision + 10
    await until(lambda: len(set(events.ids)) == 5 * 11)


async def test_metadata_is_got_with_its_etag(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({"a": 1, "b": 2})
    answer = await service.get(endpoint.id)
    assert answer.headers["Kaa-Endpoint-Revision"] == str(endpoint.revision)
    assert answer.message.e_tag == etag_of(endpoint.revision)
    assert answer.message.payload == b'{"a":1,"b":2}'
    assert (answer.message.status_code, answer.message.app_version_name) == (200, "kettle-v1")


@on_one_store
async def test_included_keys_alone_are_got(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({"a": 1, "b": 2})
    assert (await service.get(endpoint.id, "b", "x")).message.payload == b'{"b":2}'


@on_one_store
async def test_metadata_is_left_out_when_not_wanted(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({"a": 1})
    request = EndpointMetadataGetRequest(**header(), endpoint_id=endpoint.id, include_metadata=False)
    answer = (await service.ask(GET_METADATA, request)).message
    assert (answer.payload, answer.e_tag, answer.app_version_name) == (None, etag_of(endpoint.revision), "kettle-v1")


async def test_a_patch_is_applied_at_the_revision_it_names(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({"a": 1})
    patch = b'[{"op":"replace","path":"/a","value":2}]'
    answer = await service.patch(endpoint.id, patch, etag_of(endpoint.revision))
    assert (answer.message.status_code, answer.message.endpoint_id) == (200, endpoint.id)
    assert answer.headers["Kaa-Endpoint-Revision"] == str(endpoint.revision + 1)
    assert (await service.patch(endpoint.id, patch, etag_of(endpoint.revision))).message.status_code == 412
    assert (await epr.register.get(endpoint.id)).metadata == {"a": 2}


REFUSED_PATCHES = [
    (b"{", 400),
    (b"{}", 400),
    (b'[{"op":"nonsense","path":"/a"}]', 400),
    (b'[{"op":"test","path":"/a","value":true}]', 422),
    (b'[{"op":"add","path":"/a-b","value":1}]', 422),
    (b'[{"op":"remove","path":"/x"}]', 422),
    (b'[{"op":"add","path":"/b","value":"' + b"x" * 262_144 + b'"}]', 413),
]


@on_one_store
async def test_a_patch_that_cannot_be_applied_is_refused(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({"a": 1})
    for patch, status_code in REFUSED_PATCHES:
        answer = (await service.patch(endpoint.id, patch)).message
        assert answer.status_code == status_code, patch[:80]
        assert answer.reason_phrase
    assert (await epr.register.get(endpoint.id)).metadata == {"a": 1}


@on_one_store
async def test_keys_are_got(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({"a": 1, "b": None})
    request = EndpointMetadataKeysGetRequest(**header(), endpoint_id=endpoint.id)
    answer = (await service.ask(GET_METADATA_KEYS, request)).message
    assert (answer.status_code, answer.keys) == (200, ("a", "b"))


async def test_a_key_is_updated(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({"a": 1})
    assert await service.update_key(endpoint.id, "b", b"1.0") == 200
    assert (await service.get(endpoint.id)).message.payload == b'{"a":1,"b":1.0}'
    assert await service.update_key(endpoint.id, "b-c", b"1") == 400
    assert await service.update_key(endpoint.id, "b", b"{") == 400


async def test_keys_of_several_endpoints_are_updated_in_one_change_each(epr: Replica, service: Service) -> None:
    one, two = await epr.endpoint({"a": 1}), await epr.endpoint({})
    status_code = await service.update_keys(
        (one.id, "a", b"2"), (two.id, "a", b"3"), (one.id, "b", b"4"), (one.id, "a", b"5")
    )
    found_one, found_two = await epr.register.get(one.id), await epr.register.get(two.id)
    assert status_code == 200
    assert (found_one.metadata, found_two.metadata) == ({"a": 5, "b": 4}, {"a": 3})
    assert (found_one.revision, found_two.revision) == (one.revision + 1, two.revision + 1)


@on_one_store
async def test_a_malformed_update_in_a_batch_prevents_all(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({})
    assert await service.update_keys((endpoint.id, "a", b"1"), (endpoint.id, "a-b", b"1")) == 400
    assert await service.update_keys((endpoint.id, "a", b"1"), (endpoint.id, "b", b"nope")) == 400
    assert (await epr.register.get(endpoint.id)).metadata == {}


async def test_an_unknown_endpoint_in_a_batch_is_told_and_prevents_no_other(epr: Replica, service: Service) -> None:
    endpoint = await epr.endpoint({})
    assert await service.update_keys(("unknown", "a", b"1"), (endpoint.id, "a", b"1")) == 404
    assert (await epr.register.get(endpoint.id)).metadata == {"a": 1}


@on_one_store
async def test_a_batch_updates_more_endpoints_than_it_has_in_progress(
    epr: Replica, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_api, "BATCH_CONCURRENCY", 4)
    endpoints = [await epr.endpoint({}) for _ in range(20)]
    assert await service.update_keys(*((endpoint.id, "a", b"1") for endpoint in endpoints)) == 200
    found = await epr.register.get_many([endpoint.id for endpoint in endpoints])
    assert [endpoint.metadata for endpoint in found] == [{"a": 1}] * 20


@on_one_store
async def test_a_restricted_key_is_not_written(epr: Replica, service: Service) -> None:
    endpoint, free = await epr.endpoint({"model": "x", "hidden": 1}, "kettle-v2"), await epr.endpoint({})
    assert await service.update_key(endpoint.id, "model", b'"x"') == 403
    assert await service.update_key(endpoint.id, "hidden", b"2") == 403
    assert await service.update_key(endpoint.id, "room", b"2") == 200
    assert await service.update_keys((endpoint.id, "model", b"1"), (free.id, "model", b"1")) == 403
    assert (await epr.register.get(endpoint.id)).metadata == {"model": "x", "hidden": 1, "room": 2}
    assert (await epr.register.get(free.id)).metadata == {"model": 1}


@on_one_store
@pytest.mark.parametrize(
    ("patch", "status_code"),
    [
        (b'[{"op":"replace","path":"/model","value":"y"}]', 403),
        (b'[{"op":"remove","path":"/hidden"}]', 403),
        (b'[{"op":"move","from":"/hidden","path":"/room"}]', 403),
        (b'[{"op":"add","path":"/other","value":1}]', 403),
        (b'[{"op":"replace","path":"/model","value":"x"},{"op":"add","path":"/room","value":1}]', 200),
    ],
)
async def test_a_patch_leaves_restricted_keys_as_they_are(
    epr: Replica, service: Service, patch: bytes, status_code: int
) -> None:
    endpoint = await epr.endpoint({"model": "x", "hidden": 1}, "kettle-v2")
    assert (await service.patch(endpoint.id, patch)).message.status_code == status_code


@on_one_store
async def test_a_malformed_whitelist_is_told_to_devices_and_services(
    epr: Replica, service: Service, device: Device, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(APP_VERSIONS, "kettle-v1", {"metadata-keys": {"model": True}})
    endpoint = await epr.endpoint({})
    answers = [await device.ask(endpoint.id, "/get"), await device.ask(endpoint.id, "/update/keys", b'{"a":1}')]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert "not configured properly" in str(answers[0].reason_phrase)
    assert await service.update_key(endpoint.id, "a", b"1") == 503
    (line,) = [record for record in caplog.records if record.name == "epr.whitelists"]
    assert (line.levelname, "model" in line.getMessage()) == ("ERROR", True)


async def test_application_versions_of_endpoints_are_got(epr: Replica, service: Service) -> None:
    one, two, three = [await epr.endpoint({}, name) for name in ("kettle-v1", "kettle-v1", "toaster-v1")]
    ids = (three.id, one.id, "unknown", two.id, one.id)
    answer = (await service.ask(GET_APP_VERSIONS, AppVersionsByEndpointsRequest(**header(), endpoint_ids=ids))).message
    assert (answer.status_code, answer.endpoint_ids) == (200, ids)
    assert answer.app_versions_to_endpoints == {"kettle-v1": (one.id, two.id), "toaster-v1": (three.id,)}


@on_one_store
async def test_an_unknown_endpoint_is_404_everywhere(service: Service) -> None:
    keys = EndpointMetadataKeysGetRequest(**header(), endpoint_id="unknown")
    statuses: list[Any] = [
        (await service.get("unknown")).message.status_code,
        (await service.patch("unknown", b"[]")).message.status_code,
        (await service.ask(GET_METADATA_KEYS, keys)).message.status_code,
        await service.update_key("unknown", "a", b"1"),
    ]
    assert statuses == [404] * 4
