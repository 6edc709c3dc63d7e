"""Which endpoints this replica holds, for the register, which may have missed an event (COP)."""

from heapq import nsmallest

from kaa_common.messages.cop import HELD_ENDPOINTS, HeldEndpoint, HeldEndpointsRequest, HeldEndpointsResponse
from kaa_common.rpc import Reply, Rpc, answer_header
from kpc.presence import Presence

MAX_IN_ANSWER = 2000
"""Endpoints in one answer, so that it fits into a message of the bus."""


class HeldEndpoints:
    """Answers from the presence of this replica."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    async def serve(self, rpc: Rpc) -> None:
        await rpc.serve(HELD_ENDPOINTS, rpc.replica_id, self.answer)

    async def answer(self, request: HeldEndpointsRequest) -> Reply[HeldEndpointsResponse]:
        held = self._presence.held_since()
        limit = max(1, min(request.limit, MAX_IN_ANSWER))
        behind = [endpoint_id for endpoint_id in held if endpoint_id > request.after]
        first = nsmallest(limit, behind)
        return Reply(
            HeldEndpointsResponse(
                **answer_header(request),
                endpoints=tuple(
                    HeldEndpoint(endpoint_id=name, app_version_name=held[name][0], since=held[name][1])
                    for name in first
                ),
                is_complete=len(first) == len(behind),
                status_code=200,
            )
        )
