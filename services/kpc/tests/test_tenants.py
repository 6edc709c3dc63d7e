import json
from typing import Any

import pytest

from kaa_common.avro import encode
from kaa_common.bus import NatsBus
from kaa_common.clock import Deadline
from kaa_common.errors import KaaError, Unavailable
from kaa_common.messages.scmp import ServiceSpecificConfigurationUpdateEvent
from kaa_common.rpc import Rpc, event_header
from kaa_common.subjects import service_subject
from kpc.tenants import NOTHING, Requirements, Tenants, parse_requirements

from .conftest import Backend

ALL: dict[str, object] = {
    "transports": {
        "mqtt": {
            "tcp": {"basic-auth": {"required": True}},
            "tls": {"x509-auth": {"required": True}, "basic-auth": {"required": True}},
            "ws": {"basic-auth": {"required": True}},
        }
    }
}


@pytest.fixture
async def tenants(edge_rpc: Rpc, backend: Backend) -> Tenants:
    tenants = Tenants(edge_rpc, backend.tekton, backend.kpc)
    await tenants.start()
    await edge_rpc.bus.flush(5)
    return tenants


def test_what_kaas_dashboard_sends_is_understood() -> None:
    assert parse_requirements(json.dumps(ALL).encode()) == {
        "tcp": Requirements(basic=True),
        "tls": Requirements(basic=True, x509=True),
        "ws": Requirements(basic=True),
    }


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"transports": {}},
        {"transports": None},
        {"transports": {"mqtt": {"tcp": {"basic-auth": {"required": False}}}}},
        {"transports": {"mqtt": {"tcp": {"basic-auth": {}}, "tls": None}}},
        {"transports": {"mqtt": {"tcp": {"x509-auth": {"required": True}}, "ws": {"x509-auth": {"required": True}}}}},
        {"other": {"mqtt": 1}},
    ],
)
def test_nothing_is_required_where_nothing_is_said(config: dict[str, Any]) -> None:
    assert set(parse_requirements(json.dumps(config).encode()).values()) == {NOTHING}


@pytest.mark.parametrize("required", ["true", "yes", 1, [], {"x": 1}])
def test_what_is_not_understood_is_required(required: object) -> None:
    config = {"transports": {"mqtt": {"tcp": {"basic-auth": {"required": required}}}}}
    assert parse_requirements(json.dumps(config).encode())["tcp"] == Requirements(basic=True)
    assert parse_requirements(json.dumps({"transports": required}).encode())["tcp"].basic is (required != {"x": 1})


@pytest.mark.parametrize("text", [b"[]", b"{", b"1"])
def test_what_is_no_json_object_cannot_be_read(text: bytes) -> None:
    with pytest.raises(Unavailable):
        parse_requirements(text)


async def test_requirements_are_looked_up_once_until_something_changes(
    tenants: Tenants, backend: Backend, bus: NatsBus
) -> None:
    deadline = Deadline.after(5)
    for _ in range(2):
        assert await tenants.requirements("acme", "tcp", deadline) == NOTHING
    assert backend.tenant_lookups == 1
    backend.tenants["acme"] = ALL
    event = ServiceSpecificConfigurationUpdateEvent(**event_header(), tenant_id="acme")
    await bus.publish(service_subject(backend.kpc, "scmp", "configuration.upsert"), encode(event))
    await tenants.changed.wait()
    assert await tenants.requirements("acme", "tls", deadline) == Requirements(basic=True, x509=True)
    assert await tenants.requirements("other", "tls", deadline) == NOTHING
    assert backend.tenant_lookups == 3


async def test_an_answer_that_a_change_overtook_is_not_kept(tenants: Tenants, backend: Backend) -> None:
    backend.on_tenant_lookup = tenants._forget
    await tenants.requirements("acme", "tcp", Deadline.after(5))
    backend.on_tenant_lookup = None
    await tenants.requirements("acme", "tcp", Deadline.after(5))
    await tenants.requirements("acme", "tcp", Deadline.after(5))
    assert backend.tenant_lookups == 2


async def test_what_nobody_can_tell_is_an_error(edge_rpc: Rpc, backend: Backend) -> None:
    tenants = Tenants(edge_rpc, f"nobody-{backend.suffix}", backend.kpc)
    with pytest.raises(KaaError):
        await tenants.requirements("acme", "tcp", Deadline.after(2))
