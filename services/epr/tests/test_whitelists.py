from typing import Any

import pytest

from epr.whitelists import EVERYTHING, Whitelists
from kaa_common import jsontext
from kaa_common.app_versions import AppVersions
from kaa_common.clock import Deadline
from kaa_common.errors import NotFound
from kaa_common.messages.acp import GET_APP_VERSION_CONFIG, AppVersionConfigRequest, AppVersionConfigResponse
from kaa_common.rpc import Reply, Rpc, answer_header

from .conftest import Names

EPMX: dict[str, Any] = {"metadata-keys": {"room": {}, "model": {"write-enabled": False}}}
EPL: dict[str, Any] = {"connectivity": {"metadata-keys": {"state": "connected", "state-ts": "model"}}}


@pytest.fixture
async def whitelists(rpc: Rpc, names: Names) -> Whitelists:
    """Of `kettle-v1`; of all others that tekton knows the configuration of the connectivity is malformed."""

    async def answer(request: AppVersionConfigRequest) -> Reply[AppVersionConfigResponse]:
        if request.app_version_name == "gone-v1":
            raise NotFound("no such application version")
        epl = EPL if request.app_version_name == "kettle-v1" else {"connectivity": 1}
        return Reply(
            AppVersionConfigResponse(
                **answer_header(request),
                app_version_name=request.app_version_name,
                tenant_id="tenant",
                app_name="kettle",
                config=jsontext.dump(EPMX if request.service_instance_name == names.epmx else epl),
                status_code=200,
            )
        )

    await rpc.serve(GET_APP_VERSION_CONFIG, names.tekton, answer)
    kept = [AppVersions(rpc, names.tekton, instance) for instance in (names.epmx, "epl")]
    for app_versions in kept:
        await app_versions.start()
    return Whitelists(*kept)


async def test_services_may_write_besides_what_says_whether_an_endpoint_is_connected(whitelists: Whitelists) -> None:
    _, of_devices = await whitelists.of_devices("kettle-v1", Deadline.after(5))
    of_services = await whitelists.of_services("kettle-v1", Deadline.after(5))
    writable = ("room", "model", "connected", "other")
    assert [of_devices.allows_writing(key) for key in writable] == [True, False, False, False]
    assert [of_services.allows_writing(key) for key in writable] == [True, True, True, False]


async def test_what_was_looked_up_is_kept(whitelists: Whitelists) -> None:
    assert whitelists.kept_of_services("kettle-v1") is None
    looked_up = await whitelists.of_services("kettle-v1", Deadline.after(5))
    assert whitelists.kept_of_services("kettle-v1") == looked_up


async def test_without_a_version_nothing_is_restricted(whitelists: Whitelists) -> None:
    assert await whitelists.of_services("gone-v1", Deadline.after(5)) == EVERYTHING


async def test_malformed_keys_of_the_connectivity_add_nothing(whitelists: Whitelists) -> None:
    of_services = await whitelists.of_services("kettle-v2", Deadline.after(5))
    assert not of_services.allows_writing("connected")
