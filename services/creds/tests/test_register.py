import pytest

from creds.register import Register
from kaa_common.errors import NotFound, Unavailable
from kaa_common.messages.epmmp import GET_METADATA, EndpointMetadataGetRequest, EndpointMetadataGetResponse
from kaa_common.rpc import Reply, Rpc, answer_header


async def answer_with(rpc: Rpc, instance: str, status_code: int, app_version_name: str | None) -> None:
    async def get_metadata(request: EndpointMetadataGetRequest) -> Reply[EndpointMetadataGetResponse]:
        assert not request.include_metadata
        return Reply(
            EndpointMetadataGetResponse(
                **answer_header(request),
                endpoint_id=request.endpoint_id,
                status_code=status_code,
                app_version_name=app_version_name,
            )
        )

    await rpc.serve(GET_METADATA, instance, get_metadata)


async def test_the_application_is_that_of_the_version(rpc: Rpc, suffix: str) -> None:
    await answer_with(rpc, f"epr-{suffix}", 200, "water-meters-v1")
    assert await Register(rpc, f"epr-{suffix}").application_of("endpoint") == "water-meters"


async def test_an_unknown_endpoint_is_not_found(rpc: Rpc, suffix: str) -> None:
    await answer_with(rpc, f"epr-{suffix}", 404, None)
    with pytest.raises(NotFound, match="no endpoint"):
        await Register(rpc, f"epr-{suffix}").application_of("endpoint")


@pytest.mark.parametrize("status_code", [200, 503])
async def test_a_register_that_cannot_tell_is_unavailable(rpc: Rpc, suffix: str, status_code: int) -> None:
    await answer_with(rpc, f"epr-{suffix}", status_code, None)
    with pytest.raises(Unavailable):
        await Register(rpc, f"epr-{suffix}").application_of("endpoint")


async def test_no_register_is_unavailable(rpc: Rpc, suffix: str) -> None:
    with pytest.raises(Unavailable):
        await Register(rpc, f"epr-{suffix}").application_of("endpoint")
