"""20/EFMP: which filters an endpoint matches, and which endpoints match a filter."""

from epr.filters.filters import Filters
from epr.register import Register
from kaa_common.messages.efmp import (
    GET_ENDPOINT_FILTERS,
    LIST_ENDPOINTS_BY_FILTER,
    EndpointFiltersRequest,
    EndpointFiltersResponse,
    EndpointListByFilterRequest,
    EndpointListByFilterResponse,
)
from kaa_common.rpc import Reply, Rpc, answer_header


class FilterManagement:
    def __init__(self, register: Register, filters: Filters, instance: str) -> None:
        self._register = register
        self._filters = filters
        self._instance = instance

    async def serve(self, rpc: Rpc) -> None:
        await rpc.serve(GET_ENDPOINT_FILTERS, self._instance, self.get_filters)
        await rpc.serve(LIST_ENDPOINTS_BY_FILTER, self._instance, self.list_endpoints)

    async def get_filters(self, request: EndpointFiltersRequest) -> Reply[EndpointFiltersResponse]:
        async with self._register.turn(request.endpoint_id):
            endpoint = await self._register.get(request.endpoint_id)
        existing = await self._filters.existing(endpoint.filters)
        return Reply(
            EndpointFiltersResponse(
                **answer_header(request),
                endpoint_id=endpoint.id,
                filter_ids=tuple(filter_id for filter_id in endpoint.filters if filter_id in existing),
                status_code=200,
            )
        )

    async def list_endpoints(self, request: EndpointListByFilterRequest) -> Reply[EndpointListByFilterResponse]:
        """409 while the filter is pending; 413 when the endpoints are too many for a message: REST has pages."""
        return Reply(
            EndpointListByFilterResponse(
                **answer_header(request),
                filter_id=request.filter_id,
                app_versions_to_endpoints=await self._filters.endpoints_by_version(request.filter_id),
                status_code=200,
            )
        )
