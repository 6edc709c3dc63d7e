"""24/EPRMP on NATS: the relations of an endpoint, and what happens to them when an endpoint is unregistered."""

from epr.relations import Relations
from kaa_common.messages.elce import UNREGISTERED
from kaa_common.messages.eprmp import GET_RELATIONS, EndpointRelationsGetRequest, EndpointRelationsGetResponse
from kaa_common.rpc import Reply, Rpc, answer_header


class RelationsManagement:
    def __init__(self, relations: Relations, instance: str) -> None:
        self._relations = relations
        self._instance = instance

    async def serve(self, rpc: Rpc) -> None:
        await rpc.serve(GET_RELATIONS, self._instance, self.get)
        await rpc.listen(UNREGISTERED, self._instance, self._relations.drop, queue=f"{self._instance}-relations")

    async def get(self, request: EndpointRelationsGetRequest) -> Reply[EndpointRelationsGetResponse]:
        """The ids at the other ends."""
        found = await self._relations.of(request.endpoint_id, request.relation)
        others = tuple(one.to_id if one.from_id == request.endpoint_id else one.from_id for one in found)
        return Reply(EndpointRelationsGetResponse(**answer_header(request), endpoint_ids=others, status_code=200))
