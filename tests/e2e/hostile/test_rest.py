"""Strange requests of the REST interfaces are refused, on every store."""

import pytest

from .attacks import Platform


@pytest.mark.parametrize(
    "path",
    [
        "/epr/api/v1/endpoints/%00",
        "/epr/api/v1/endpoints/%ff/metadata",
        "/epr/api/v1/endpoints/..%2f..%2fetc/metadata/a",
        "/epr/api/v1/endpoints/x/metadata/$where",
        "/epr/api/v1/endpoints?limit=99999999999999999999",
        "/epr/api/v1/endpoints?offset=-1",
        "/epr/api/v1/endpoints?offset=9223372036854775808",
        "/epr/api/v1/endpoints?applicationName=%00%ff",
        "/epr/api/v1/endpoints?endpointId=" + ",".join("a" * 100 for _ in range(500)),
        "/cm/api/v1/endpoints/%00/tokens/%00",
        "/cm/api/v1/endpoints/x/tokens?status=%ff",
        "/tekton/api/v1/applications/%00",
        "/tekton/api/v1/applications/a.b%2f$where",
        "/tekton/api/v1/app-configs/applications/%ff/app-versions/%ff",
    ],
)
def test_strange_paths_of_the_rest_interfaces_are_a_refusal(platform: Platform, path: str) -> None:
    answer = platform.rest.get(path)
    assert answer.status_code in {200, 400, 404}, answer.text
    assert answer.status_code != 200 or answer.json()["content"] == []
