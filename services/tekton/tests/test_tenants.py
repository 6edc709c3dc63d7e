"""Configurations of tenants, over REST and on the bus."""

import asyncio
from typing import Any

import httpx
import pytest

from kaa_common.avro import decode
from kaa_common.bus import BusMessage, NatsBus
from kaa_common.errors import PayloadTooLarge
from kaa_common.messages.scmp import ServiceSpecificConfigurationUpdateEvent
from kaa_common.subjects import service_subject
from support.waiting import until
from tekton.tenants import MAX_BYTES, Tenants

BASIC_REQUIRED = {"transports": {"mqtt": {"tcp": {"basic-auth": {"required": True}}}}}


def body_of(tenant_id: str = "tenant", **configurations: Any) -> dict[str, Any]:
    return {
        instance: {"kaa": {"tenants": {tenant_id: {"config": configuration}}}}
        for instance, configuration in configurations.items()
    }


async def test_a_configuration_is_put_and_got_exactly(client: httpx.AsyncClient) -> None:
    put = await client.put("/tenant-configs", json=body_of(kpc=BASIC_REQUIRED))
    assert (put.status_code, put.json(), put.headers["ETag"]) == (200, body_of(kpc=BASIC_REQUIRED), '"1"')
    got = await client.get("/tenant-configs", params={"serviceInstanceName": "kpc"})
    assert (got.json(), got.headers["ETag"]) == (body_of(kpc=BASIC_REQUIRED), '"1"')
    unchanged = await client.get("/tenant-configs", headers={"If-None-Match": '"1"'})
    assert unchanged.status_code == 304


async def test_what_was_never_configured_is_empty(client: httpx.AsyncClient) -> None:
    assert (await client.get("/tenant-configs")).json() == {}
    answer = await client.get("/tenant-configs", params={"serviceInstanceName": "kpc"})
    assert (answer.status_code, answer.json()) == (200, body_of(kpc=None))


async def test_a_put_leaves_other_service_instances_alone_and_null_removes(client: httpx.AsyncClient) -> None:
    await client.put("/tenant-configs", json=body_of(kpc={"a": 1}, epmx={"b": 2}, epl={"c": 3}))
    await client.put("/tenant-configs", json=body_of(kpc={"d": 4}, epmx=None))
    assert (await client.get("/tenant-configs")).json() == body_of(kpc={"d": 4}, epl={"c": 3})


async def test_each_tenant_has_its_own(client: httpx.AsyncClient) -> None:
    await client.put("/tenant-configs", json=body_of(kpc={"a": 1}))
    await client.put("/tenant-configs", json=body_of("acme", kpc={"a": 2}))
    assert (await client.get("/tenant-configs")).json() == body_of(kpc={"a": 1})
    assert (await client.get("/tenant-configs", params={"tenantId": "acme"})).json() == body_of("acme", kpc={"a": 2})


async def test_if_match_guards_a_change(client: httpx.AsyncClient) -> None:
    for if_match, status_code in (('"1"', 412), ('"0"', 200), ('"0"', 412), ('"1"', 200)):
        answer = await client.put("/tenant-configs", json=body_of(kpc={}), headers={"If-Match": if_match})
        assert answer.status_code == status_code


@pytest.mark.parametrize(
    "body",
    [
        "null",
        "[]",
        "{}",
        "{",
        '{"kpc": {}}',
        '{"kpc": {"kaa": {"tenants": {}}}}',
        '{"kpc": {"kaa": {"tenants": 1}}}',
        '{"kpc": {"kaa": {"tenants": {"a b": {"config": {}}}}}}',
        '{"kpc": {"kaa": {"tenants": {"a": {"config": 1}}}}}',
        '{"kpc": {"kaa": {"tenants": {"a": {"config": {}, "x": 1}}}}}',
        '{"kpc": {"kaa": {"tenants": {"a": {"config": {}}, "b": {"config": {}}}}}}',
        '{"kpc": {"kaa": {"tenants": {"a": {"config": {}}}}}, "x": {"kaa": {"tenants": {"b": {"config": {}}}}}}',
        '{"k.*": {"kaa": {"tenants": {"a": {"config": {}}}}}}',
    ],
)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_bad_body_is_refused(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.put("/tenant-configs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, bool(answer.json()["message"])) == (400, True)


async def test_a_change_is_announced_to_the_service_instances_that_it_is_for(
    tenants: Tenants, bus: NatsBus, instance: str
) -> None:
    heard: list[BusMessage] = []

    async def hear(message: BusMessage) -> None:
        heard.append(message)

    kpc, other = f"kpc-{instance}", f"other-{instance}"
    for name in (kpc, other):
        await bus.subscribe(service_subject(name, "scmp", "configuration.upsert"), hear)
    await bus.flush(5)
    await tenants.configure("acme", {kpc: {"a": 1}}, lambda _: None)
    await tenants.configure("acme", {kpc: None}, lambda _: None)
    await until(lambda: len(heard) >= 2)
    for message, revision in zip(heard, (1, 2), strict=True):
        event = decode(ServiceSpecificConfigurationUpdateEvent, message.data)
        assert message.subject == service_subject(kpc, "scmp", "configuration.upsert")
        assert (event.tenant_id, event.app_name, event.app_ver_name) == ("acme", None, None)
        assert message.headers["Nats-Msg-Id"] == f"tenant:acme:{revision}:upsert:{kpc}"


async def test_changes_at_the_same_time_are_all_made(tenants: Tenants) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(tenants.configure("acme", {f"service-{number}": {"a": number}}, lambda _: None))
    tenant = await tenants.get("acme")
    assert (tenant.revision, len(tenant.configurations)) == (10, 10)


async def test_the_configurations_of_a_tenant_are_bounded(tenants: Tenants) -> None:
    with pytest.raises(PayloadTooLarge):
        await tenants.configure("acme", {"kpc": {"a": "x" * MAX_BYTES}}, lambda _: None)
    assert (await tenants.get("acme")).revision == 0
