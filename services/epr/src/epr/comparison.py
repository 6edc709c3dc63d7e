"""What a communication replica holds, compared with what is known of it here; the differences are recorded.

Both are read page by page in the order of the endpoints' ids. Who the replica holds is connected, at the latest since
it said so. Who is known as held and is not among these has gone by the time of the answer, unless it came back since.
"""

from typing import Final

from epr.connectivity import Connectivity, Report
from epr.register import Register
from kaa_common.clock import Deadline
from kaa_common.errors import error_of
from kaa_common.messages.cop import HELD_ENDPOINTS, HeldEndpointsRequest, HeldEndpointsResponse
from kaa_common.rpc import Rpc, request_header

PAGE: Final = 500
"""Endpoints in an answer: well below what a message may hold."""
ANSWER_TIMEOUT: Final = 4.0


class Comparison:
    def __init__(self, rpc: Rpc, register: Register, connectivity: Connectivity) -> None:
        self._rpc = rpc
        self._register = register
        self._connectivity = connectivity

    async def compare(self, replica_id: str) -> None:
        """Raises KaaError, perhaps in a group, when the replica does not answer or it cannot be recorded."""
        after = ""
        is_complete = False
        while not is_complete:
            answer = await self._ask(replica_id, after)
            is_complete = answer.is_complete or not answer.endpoints
            last = "" if is_complete else answer.endpoints[-1].endpoint_id
            await self._connectivity.record(replica_id, await self._reports(replica_id, answer, after, last))
            after = last

    async def _ask(self, replica_id: str, after: str) -> HeldEndpointsResponse:
        request = HeldEndpointsRequest(**request_header(Deadline.after(ANSWER_TIMEOUT)), after=after, limit=PAGE)
        answer = (await self._rpc.call(HELD_ENDPOINTS, replica_id, request)).message
        if answer.status_code != 200:
            raise error_of(answer.status_code, answer.reason_phrase)
        return answer

    async def _reports(self, replica_id: str, answer: HeldEndpointsResponse, after: str, last: str) -> list[Report]:
        """On the endpoints behind `after` up to `last`, or all of them."""
        held = [
            Report(
                endpoint_id=endpoint.endpoint_id,
                at=endpoint.since,
                app_version=endpoint.app_version_name,
                held_at=answer.timestamp,
            )
            for endpoint in answer.endpoints
        ]
        gone = await self._known(replica_id, after, last) - {report.endpoint_id for report in held}
        return [*held, *(Report(endpoint_id=name, at=answer.timestamp, app_version=None) for name in gone)]

    async def _known(self, replica_id: str, after: str, last: str) -> set[str]:
        """The endpoints that it is known to hold."""
        known: set[str] = set()
        while page := await self._register.held_by(replica_id, after=after, limit=PAGE):
            known.update(endpoint.id for endpoint in page if not last or endpoint.id <= last)
            after = page[-1].id
            if last and after >= last:
                break
        return known
