import httpx

from .conftest import on_one_store


@on_one_store
async def test_the_openapi_document_shows_bodies_with_examples(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("summary"), (method, path)
            if method in ("post", "put", "patch"):
                [content] = operation["requestBody"]["content"].values()
                assert content["example"], (method, path)
    assert (
        "application/json-patch+json"
        in paths["/epr/api/v1/endpoints/{endpointId}/metadata"]["patch"]["requestBody"]["content"]
    )
