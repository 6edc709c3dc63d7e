import pytest

from kaa_common.app_versions import AppVersions
from kaa_common.clock import Deadline
from kaa_common.errors import NotFound
from kaa_common.messages.acp import (
    GET_APP_VERSION_CONFIG,
    GET_APPLICATION,
    GET_TENANT_CONFIG,
    ApplicationRequest,
    AppVersionConfigRequest,
    TenantConfigRequest,
)
from kaa_common.rpc import Rpc, request_header
from tekton import bus_api
from tekton.applications import Applications
from tekton.tenants import Tenants

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def any_revision(_: int) -> None:
    pass


async def test_an_application_version_is_told_with_the_configuration_for_who_asks(
    applications: Applications, tenants: Tenants, rpc: Rpc, instance: str
) -> None:
    await bus_api.serve(rpc, instance, applications, tenants)
    await applications.create("meters", {})
    await applications.create_version("meters", "v1", {})
    await applications.configure("meters", "meters-v1", {"kpc": {"a": [1]}, "epmx": {}}, any_revision)
    for service, config in (("kpc", b'{"a":[1]}'), ("epmx", b"{}"), ("epl", None)):
        request = AppVersionConfigRequest(
            **request_header(Deadline.after(5)), app_version_name="meters-v1", service_instance_name=service
        )
        response = (await rpc.call(GET_APP_VERSION_CONFIG, instance, request)).message
        assert (response.status_code, response.tenant_id, response.app_name) == (200, "tenant", "meters")
        assert (response.app_version_name, response.config) == ("meters-v1", config)


@pytest.mark.parametrize("name", ["meters-v2", "other-v1", "meters", ""])
async def test_an_unknown_application_version_is_answered_404(
    applications: Applications, tenants: Tenants, rpc: Rpc, instance: str, name: str
) -> None:
    await bus_api.serve(rpc, instance, applications, tenants)
    await applications.create("meters", {})
    request = AppVersionConfigRequest(
        **request_header(Deadline.after(5)), app_version_name=name, service_instance_name="kpc"
    )
    response = (await rpc.call(GET_APP_VERSION_CONFIG, instance, request)).message
    assert (response.status_code, response.app_version_name) == (404, name)


async def test_an_application_is_told_with_its_versions(
    applications: Applications, tenants: Tenants, rpc: Rpc, instance: str
) -> None:
    await bus_api.serve(rpc, instance, applications, tenants)
    await applications.create("meters", {})
    for suffix in ("v1", "v2"):
        await applications.create_version("meters", suffix, {})
    for name, told in (("meters", (200, "tenant", ("meters-v1", "meters-v2"))), ("other", (404, None, ()))):
        request = ApplicationRequest(**request_header(Deadline.after(5)), app_name=name)
        response = (await rpc.call(GET_APPLICATION, instance, request)).message
        assert response.app_name == name
        assert (response.status_code, response.tenant_id, response.app_version_names) == told


async def test_what_other_services_keep_follows_every_change(
    applications: Applications, tenants: Tenants, rpc: Rpc, instance: str
) -> None:
    await bus_api.serve(rpc, instance, applications, tenants)
    kept = AppVersions(rpc, instance, f"kpc-{instance}")
    await kept.start()
    with pytest.raises(NotFound):
        await kept.get("meters-v1", Deadline.after(5))
    await applications.create("meters", {})
    await applications.create_version("meters", "v1", {})
    await rpc.bus.flush(5)
    assert (await kept.get("meters-v1", Deadline.after(5))).config == {}
    await applications.configure("meters", "meters-v1", {f"kpc-{instance}": {"a": 1}}, any_revision)
    await rpc.bus.flush(5)
    assert (await kept.get("meters-v1", Deadline.after(5))).config == {"a": 1}


async def test_a_tenant_is_told_with_the_configuration_for_who_asks(
    applications: Applications, tenants: Tenants, rpc: Rpc, instance: str
) -> None:
    await bus_api.serve(rpc, instance, applications, tenants)
    await tenants.configure("acme", {"kpc": {"a": [1]}}, any_revision)
    for tenant_id, service, config in (("acme", "kpc", b'{"a":[1]}'), ("acme", "epmx", None), ("other", "kpc", None)):
        request = TenantConfigRequest(
            **request_header(Deadline.after(5)), tenant_id=tenant_id, service_instance_name=service
        )
        response = (await rpc.call(GET_TENANT_CONFIG, instance, request)).message
        assert (response.status_code, response.tenant_id, response.config) == (200, tenant_id, config)


async def test_what_cannot_be_a_tenant_is_answered_400(
    applications: Applications, tenants: Tenants, rpc: Rpc, instance: str
) -> None:
    await bus_api.serve(rpc, instance, applications, tenants)
    request = TenantConfigRequest(**request_header(Deadline.after(5)), tenant_id="a b", service_instance_name="kpc")
    response = (await rpc.call(GET_TENANT_CONFIG, instance, request)).message
    assert (response.status_code, response.config) == (400, None)
