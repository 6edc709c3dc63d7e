"""The endpoint register, as far as tokens need it: does an endpoint exist, and in which application (19/EPMMP)."""

from kaa_common.clock import Deadline
from kaa_common.errors import NotFound, Unavailable, error_of
from kaa_common.messages.epmmp import GET_METADATA, EndpointMetadataGetRequest
from kaa_common.rpc import Rpc, request_header

ANSWER_TIMEOUT = 5.0
"""Seconds: as long as the register's own store may take."""


class Register:
    def __init__(self, rpc: Rpc, instance: str) -> None:
        self._rpc = rpc
        self._instance = instance

    async def application_of(self, endpoint_id: str) -> str:
        """The application of an endpoint. Raises NotFound, Unavailable, DeadlineExceeded."""
        request = EndpointMetadataGetRequest(
            **request_header(Deadline.after(ANSWER_TIMEOUT)), endpoint_id=endpoint_id, include_metadata=False
        )
        response = (await self._rpc.call(GET_METADATA, self._instance, request)).message
        if response.status_code == 404:
            raise NotFound("no endpoint with this id")
        if response.status_code != 200:
            raise error_of(response.status_code, response.reason_phrase)
        if response.app_version_name is None:
            raise Unavailable("the endpoint register does not tell application versions")
        # <application>-<suffix>, the suffix without a dash
        return response.app_version_name.rpartition("-")[0]
