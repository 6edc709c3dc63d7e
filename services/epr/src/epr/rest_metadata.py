"""The REST interface of metadata: `/epr/api/v1/endpoints/{endpointId}/metadata...`, and the keys of an application.

Metadata is read from and written to its text (`jsontext`), never through a model. Reads answer with the revision as
`ETag` and honour `If-None-Match`, changes honour `If-Match` and answer 204 with the new `ETag`.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request, Response

from epr import metadata
from epr.metadata import Operation
from epr.metadata_keys import MetadataKeys
from epr.model import Endpoint
from epr.register import Register
from epr.rest_bodies import EXAMPLE_METADATA, EXAMPLE_PATCH
from epr.rest_routes import (
    CHANGING,
    READ,
    READ_KEYS,
    READING,
    UPDATE,
    WRITING,
    ApplicationInPath,
    IdInPath,
    IfMatch,
    IfNoneMatch,
    KeyInPath,
    Route,
    answer_about,
    answers_json,
    in_time,
    request_body,
)
from epr.search import names_in
from kaa_common.errors import NotFound
from kaa_common.rest import check_if_match, errors, etag_of, json_response

_METADATA = {"type": "object", "description": "Keys are `^[a-zA-Z0-9_]+$`, values any JSON."}
_KEYS = {"type": "array", "items": {"type": "string"}}
_PATCH = {
    "type": "array",
    "items": {"type": "object", "required": ["op", "path"], "properties": {"path": {"type": "string"}}},
}


class MetadataApi:
    tag = "metadata"

    def __init__(self, register: Register, keys: MetadataKeys, request_timeout: float) -> None:
        self._register = register
        self._keys = keys
        self._request_timeout = request_timeout

    def routes(self) -> Sequence[Route]:
        all_ = "/endpoints/{endpointId}/metadata"
        key = all_ + "/{metadataKey}"
        whole = {**answers_json({"type": "object"}, EXAMPLE_METADATA, "The metadata."), **READING}
        keys = {**answers_json(_KEYS, list(EXAMPLE_METADATA), "The keys."), **READING}
        value = {**answers_json({}, EXAMPLE_METADATA["model"], "The bare value."), **READING}
        by_version = answers_json(
            {"type": "object", "additionalProperties": _KEYS},
            {"smart_kettle-v1": list(EXAMPLE_METADATA)},
            "The keys by application version, sorted.",
        )
        patch = request_body(_PATCH, EXAMPLE_PATCH, "application/json-patch+json")
        replaced, put = request_body(_METADATA, EXAMPLE_METADATA), request_body({}, EXAMPLE_METADATA["model"])
        return (
            Route("GET", all_, READ, self.get, 200, whole),
            Route("PUT", all_, UPDATE, self.replace, 204, WRITING, replaced),
            Route("PATCH", all_, UPDATE, self.patch, 204, WRITING | errors(422), patch),
            Route("GET", "/endpoints/{endpointId}/metadata-keys", READ, self.get_keys, 200, keys),
            Route("GET", key, READ, self.get_value, 200, value),
            Route("PUT", key, UPDATE, self.put_value, 204, WRITING, put),
            Route("DELETE", key, UPDATE, self.delete_value, 204, CHANGING),
            Route(
                "GET",
                "/applications/{applicationName}/metadata-keys",
                READ_KEYS,
                self.get_keys_of_application,
                200,
                {**by_version, **errors(404, 504)},
            ),
        )

    async def get(
        self,
        endpoint_id: IdInPath,
        include: Annotated[
            list[str] | None, Query(description="Keys, comma-separated; all when absent.", examples=[["model", "mac"]])
        ] = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Get the metadata of an endpoint."""
        keys = names_in(include)
        metadata.check_keys(keys)
        endpoint = await self._register.get(endpoint_id)
        wanted = metadata.select(endpoint.metadata, keys) if keys else endpoint.metadata
        return answer_about(endpoint, wanted, if_none_match)

    async def replace(self, request: Request, endpoint_id: IdInPath, if_match: IfMatch = None) -> Response:
        """Replace the whole metadata of an endpoint."""
        operation = metadata.replace_all(metadata.parse_object(await request.body()))
        return await self._change(endpoint_id, if_match, operation)

    async def patch(self, request: Request, endpoint_id: IdInPath, if_match: IfMatch = None) -> Response:
        """Apply a JSON Patch (RFC 6902) to the metadata of an endpoint: wholly or not at all."""
        return await self._change(endpoint_id, if_match, metadata.parse_patch(await request.body()))

    async def get_keys(self, endpoint_id: IdInPath, if_none_match: IfNoneMatch = None) -> Response:
        """Get the keys of an endpoint's metadata."""
        endpoint = await self._register.get(endpoint_id)
        return answer_about(endpoint, list(endpoint.metadata), if_none_match)

    async def get_value(
        self, endpoint_id: IdInPath, metadata_key: KeyInPath, if_none_match: IfNoneMatch = None
    ) -> Response:
        """Get the value of a metadata key."""
        endpoint = await self._register.get(endpoint_id)
        if metadata_key not in endpoint.metadata:
            raise NotFound("no metadata with this key")
        return answer_about(endpoint, endpoint.metadata[metadata_key], if_none_match)

    async def put_value(
        self, request: Request, endpoint_id: IdInPath, metadata_key: KeyInPath, if_match: IfMatch = None
    ) -> Response:
        """Create or overwrite a metadata key; the body is the bare JSON value."""
        operation = metadata.merge({metadata_key: metadata.parse_value(await request.body())})
        return await self._change(endpoint_id, if_match, operation)

    async def delete_value(self, endpoint_id: IdInPath, metadata_key: KeyInPath, if_match: IfMatch = None) -> Response:
        """Delete a metadata key."""
        return await self._change(endpoint_id, if_match, metadata.delete_key(metadata_key))

    async def get_keys_of_application(self, application: ApplicationInPath) -> Response:
        """Get the metadata keys that the endpoints of an application have, by application version.

        With more than 1,000 endpoints the answer may be a minute old; with more than 10,000 keys some are left out.
        """
        return json_response(await in_time(self._request_timeout, self._keys.of(application)))

    async def _change(self, endpoint_id: str, if_match: str | None, operation: Operation) -> Response:
        def decide(endpoint: Endpoint) -> metadata.Metadata:
            check_if_match(if_match, endpoint.revision)
            return operation(endpoint.metadata)

        async def change() -> Endpoint:
            async with self._register.turn(endpoint_id):
                return await self._register.change_metadata(endpoint_id, decide)

        endpoint = await in_time(self._request_timeout, change())
        return Response(status_code=204, headers={"ETag": etag_of(endpoint.revision)})
