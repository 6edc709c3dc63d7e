import pytest

from epr.filters import filters as filters_module
from kaa_common.clock import Deadline
from kaa_common.messages.efmp import (
    GET_ENDPOINT_FILTERS,
    LIST_ENDPOINTS_BY_FILTER,
    EndpointFiltersRequest,
    EndpointFiltersResponse,
    EndpointListByFilterRequest,
    EndpointListByFilterResponse,
)
from kaa_common.rpc import Rpc, request_header

from .conftest import Names, Replica, on_one_store
from .filtering import made, texts

IN_KYIV = {"metadata.city": "Kyiv"}


async def filters_of(rpc: Rpc, names: Names, endpoint_id: str) -> EndpointFiltersResponse:
    request = EndpointFiltersRequest(**request_header(Deadline.after(10)), endpoint_id=endpoint_id)
    return (await rpc.call(GET_ENDPOINT_FILTERS, names.epr, request)).message


async def endpoints_of(rpc: Rpc, names: Names, filter_id: str) -> EndpointListByFilterResponse:
    request = EndpointListByFilterRequest(**request_header(Deadline.after(10)), filter_id=filter_id)
    return (await rpc.call(LIST_ENDPOINTS_BY_FILTER, names.epr, request)).message


async def test_the_filters_of_an_endpoint_are_told(epr: Replica, rpc: Rpc, names: Names) -> None:
    endpoint = await epr.endpoint({"city": "Kyiv"})
    assert (await filters_of(rpc, names, endpoint.id)).filter_ids == ()
    one, two = await made(epr, IN_KYIV), await made(epr, {})
    await made(epr, {"metadata.city": "Lviv"})
    answer = await filters_of(rpc, names, endpoint.id)
    assert (answer.status_code, answer.endpoint_id, answer.filter_ids) == (200, endpoint.id, (one, two))
    await epr.filters.delete(one, "kettle", lambda _: None)
    assert (await filters_of(rpc, names, endpoint.id)).filter_ids == (two,)
    unknown = await filters_of(rpc, names, "unknown")
    assert (unknown.status_code, unknown.endpoint_id, unknown.filter_ids) == (404, "unknown", ())


async def test_the_endpoints_of_a_filter_are_told_by_version(epr: Replica, rpc: Rpc, names: Names) -> None:
    one, other = await epr.endpoint({"city": "Kyiv"}), await epr.endpoint({"city": "Kyiv"}, "kettle-v2")
    await epr.endpoint({"city": "Lviv"})
    filter_id = await made(epr, IN_KYIV)
    answer = await endpoints_of(rpc, names, filter_id)
    assert (answer.status_code, answer.filter_id) == (200, filter_id)
    assert answer.app_versions_to_endpoints == {"kettle-v1": (one.id,), "kettle-v2": (other.id,)}


@on_one_store
async def test_endpoints_that_cannot_be_told_are_refused(
    epr: Replica, rpc: Rpc, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = await endpoints_of(rpc, names, "unknown")
    assert (unknown.status_code, unknown.filter_id, unknown.app_versions_to_endpoints) == (404, "unknown", {})
    for _ in range(2):
        await epr.endpoint({"city": "Kyiv"})
    filter_id = await made(epr, IN_KYIV)
    monkeypatch.setattr(filters_module, "MAX_LISTED", 1)
    assert (await endpoints_of(rpc, names, filter_id)).status_code == 413
    monkeypatch.setattr(epr.filters, "_on_change", lambda: None)
    pending = await epr.filters.create("kettle", texts({}))
    assert (await endpoints_of(rpc, names, pending.id)).status_code == 409
