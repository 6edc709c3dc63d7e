"""Applications as the register sees them: tekton keeps them."""

from kaa_common.clock import Deadline
from kaa_common.errors import NotFound, error_of
from kaa_common.messages.acp import GET_APPLICATION, ApplicationRequest
from kaa_common.rpc import Rpc, request_header


class Applications:
    """Asked whenever somebody wants to know, which is seldom: nothing is kept."""

    def __init__(self, rpc: Rpc, tekton_instance: str, timeout: float) -> None:
        self._rpc = rpc
        self._tekton_instance = tekton_instance
        self._timeout = timeout

    async def versions_of(self, application: str) -> tuple[str, ...]:
        """The names of its versions. Raises NotFound when there is none; Unavailable, DeadlineExceeded."""
        request = ApplicationRequest(**request_header(Deadline.after(self._timeout)), app_name=application)
        response = (await self._rpc.call(GET_APPLICATION, self._tekton_instance, request)).message
        if response.status_code == 404:
            raise NotFound("no application with this name")
        if response.status_code != 200:
            raise error_of(response.status_code, response.reason_phrase)
        return response.app_version_names
