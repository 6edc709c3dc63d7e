"""The register's REST interface: `/epr/api/v1/endpoints...`.

What carries metadata is read from and written to its text (`jsontext`), never through a model. Reads answer with the
revision as `ETag` and honour `If-None-Match`, changes honour `If-Match` and answer 204 with the new `ETag`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from epr import metadata
from epr.metadata import Operation
from epr.model import Endpoint
from epr.register import Register
from epr.registration import Registrar, Registration
from epr.rest_bodies import (
    EXAMPLE_METADATA,
    METADATA_REQUEST,
    PATCH_REQUEST,
    REGISTRATION_REQUEST,
    VALUE_REQUEST,
    EndpointBody,
    EndpointId,
    EndpointPage,
    MetadataKey,
    RegistrationAnswer,
    RegistrationBody,
    answers,
    endpoint_body,
    registration_answer,
)
from kaa_common import jsontext
from kaa_common.app_versions import AppVersions
from kaa_common.clock import Deadline
from kaa_common.errors import BadRequest, DeadlineExceeded, NotFound
from kaa_common.rest import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Limit,
    Offset,
    StrictRoute,
    check_if_match,
    errors,
    etag_of,
    is_unchanged,
    json_response,
    requires,
)

IdInPath = Annotated[EndpointId, Path(alias="endpointId")]
KeyInPath = Annotated[MetadataKey, Path(alias="metadataKey")]
IfMatch = Annotated[str | None, Header(description="ETag the endpoint must have, else 412.")]
IfNoneMatch = Annotated[str | None, Header(description="ETag the caller has: 304 when it is still the endpoint's.")]
Include = Annotated[str | None, Query(description="`metadata` to have the endpoints' metadata in the answer.")]

CREATE, READ = "application:endpoint:create", "endpoint:read"
UPDATE, DELETE = "endpoint:update", "endpoint:delete"
Route = tuple[str, str, str, Callable[..., Any], int, dict[int | str, dict[str, Any]], dict[str, Any] | None]
"""Method, path, scope, handler, status code of its success, answers, OpenAPI of its request. Any: as FastAPI has it."""

Result = TypeVar("Result")


class EndpointApi:
    def __init__(
        self, register: Register, registrar: Registrar, app_versions: AppVersions, request_timeout: float
    ) -> None:
        self._register = register
        self._registrar = registrar
        self._app_versions = app_versions
        self._request_timeout = request_timeout

    def router(self) -> APIRouter:
        router = APIRouter(route_class=StrictRoute, tags=["endpoints"])
        one = "/endpoints/{endpointId}"
        key = one + "/metadata/{metadataKey}"
        registered = {201: {"model": RegistrationAnswer}, **errors(404, 409, 413, 504)}
        reading = {304: {"description": "Not Modified"}, **errors(404)}
        changing, writing = errors(404, 412, 504), errors(404, 412, 413, 504)
        whole = {**answers({"type": "object"}, EXAMPLE_METADATA, "The metadata."), **reading}
        keys = {
            **answers({"type": "array", "items": {"type": "string"}}, list(EXAMPLE_METADATA), "The keys."),
            **reading,
        }
        value = {**answers({}, EXAMPLE_METADATA["model"], "The bare value."), **reading}
        routes: tuple[Route, ...] = (
            ("POST", "/endpoints", CREATE, self.register, 201, registered, REGISTRATION_REQUEST),
            ("GET", "/endpoints", READ, self.list_endpoints, 200, {200: {"model": EndpointPage}}, None),
            ("GET", one, READ, self.get_endpoint, 200, {200: {"model": EndpointBody}, **reading}, None),
            ("DELETE", one, DELETE, self.unregister, 204, changing, None),
            ("GET", f"{one}/metadata", READ, self.get_metadata, 200, whole, None),
            ("PUT", f"{one}/metadata", UPDATE, self.replace_metadata, 204, writing, METADATA_REQUEST),
            ("PATCH", f"{one}/metadata", UPDATE, self.patch_metadata, 204, writing | errors(422), PATCH_REQUEST),
            ("GET", f"{one}/metadata-keys", READ, self.get_metadata_keys, 200, keys, None),
            ("GET", key, READ, self.get_value, 200, value, None),
            ("PUT", key, UPDATE, self.put_value, 204, writing, VALUE_REQUEST),
            ("DELETE", key, UPDATE, self.delete_value, 204, changing, None),
        )
        for method, path, scope, handler, status_code, described, request in routes:
            router.add_api_route(
                path,
                handler,
                methods=[method],
                dependencies=[requires(scope)],
                status_code=status_code,
                responses=described,
                openapi_extra=request,
            )
        return router

    async def register(self, request: Request) -> Response:
        """Register an endpoint, with a token that is given or generated.

        Registering again with the same id and token changes nothing and has the same answer.
        """
        text = await request.body()
        try:
            body = RegistrationBody.model_validate(jsontext.parse(text, max_depth=metadata.MAX_DEPTH + 1))
        except ValidationError as exc:
            raise RequestValidationError(exc.errors()) from exc
        metadata.check_keys(body.metadata)
        app_version = await self._app_versions.get(body.app_version.name, Deadline.after(self._request_timeout))
        wanted = Registration(
            endpoint_id=body.endpoint_id,
            app_version=app_version,
            metadata=body.metadata,
            token=body.endpoint_token,
        )
        endpoint, token = await self._registrar.register(wanted)
        location = f"{request.url.replace(query='')}/{endpoint.id}"
        return json_response(
            registration_answer(endpoint, token), 201, {"Location": location, "ETag": etag_of(endpoint.revision)}
        )

    async def list_endpoints(
        self,
        endpoint_id: Annotated[str | None, Query(alias="endpointId", description="Ids, comma-separated.")] = None,
        application: Annotated[str | None, Query(alias="applicationName")] = None,
        app_version: Annotated[str | None, Query(alias="applicationVersionName")] = None,
        include: Include = None,
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response:
        """List endpoints, by application version and age."""
        if endpoint_id is None:
            total, endpoints = await self._register.page(
                application=application, app_version=app_version, offset=offset, limit=limit
            )
        else:
            found = [
                endpoint
                for endpoint in await self._register.get_many(_ids(endpoint_id))
                if application in (None, endpoint.application) and app_version in (None, endpoint.app_version)
            ]
            total, endpoints = len(found), found[offset : offset + limit]
        with_metadata = _includes_metadata(include)
        content = [endpoint_body(endpoint, with_metadata=with_metadata) for endpoint in endpoints]
        return json_response({"totalElements": total, "content": content})

    async def get_endpoint(
        self, endpoint_id: IdInPath, include: Include = None, if_none_match: IfNoneMatch = None
    ) -> Response:
        """Get an endpoint."""
        endpoint = await self._register.get(endpoint_id)
        body = endpoint_body(endpoint, with_metadata=_includes_metadata(include))
        return _answer(endpoint, body, if_none_match)

    async def unregister(self, endpoint_id: IdInPath, if_match: IfMatch = None) -> Response:
        """Unregister an endpoint: its metadata is gone, its tokens end."""
        await self._in_time(
            self._registrar.unregister(endpoint_id, lambda endpoint: check_if_match(if_match, endpoint.revision))
        )
        return Response(status_code=204)

    async def get_metadata(
        self,
        endpoint_id: IdInPath,
        include: Annotated[str | None, Query(description="Keys, comma-separated; all when absent.")] = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Get the metadata of an endpoint."""
        keys = include.split(",") if include else None
        metadata.check_keys(keys or ())
        endpoint = await self._register.get(endpoint_id)
        wanted = endpoint.metadata if keys is None else metadata.select(endpoint.metadata, keys)
        return _answer(endpoint, wanted, if_none_match)

    async def replace_metadata(self, request: Request, endpoint_id: IdInPath, if_match: IfMatch = None) -> Response:
        """Replace the whole metadata of an endpoint."""
        operation = metadata.replace_all(metadata.parse_object(await request.body()))
        return await self._change(endpoint_id, if_match, operation)

    async def patch_metadata(self, request: Request, endpoint_id: IdInPath, if_match: IfMatch = None) -> Response:
        """Apply a JSON Patch (RFC 6902) to the metadata of an endpoint: wholly or not at all."""
        return await self._change(endpoint_id, if_match, metadata.parse_patch(await request.body()))

    async def get_metadata_keys(self, endpoint_id: IdInPath, if_none_match: IfNoneMatch = None) -> Response:
        """Get the keys of an endpoint's metadata."""
        endpoint = await self._register.get(endpoint_id)
        return _answer(endpoint, list(endpoint.metadata), if_none_match)

    async def get_value(
        self, endpoint_id: IdInPath, metadata_key: KeyInPath, if_none_match: IfNoneMatch = None
    ) -> Response:
        """Get the value of a metadata key."""
        endpoint = await self._register.get(endpoint_id)
        if metadata_key not in endpoint.metadata:
            raise NotFound("no metadata with this key")
        return _answer(endpoint, endpoint.metadata[metadata_key], if_none_match)

    async def put_value(
        self, request: Request, endpoint_id: IdInPath, metadata_key: KeyInPath, if_match: IfMatch = None
    ) -> Response:
        """Create or overwrite a metadata key; the body is the bare JSON value."""
        operation = metadata.merge({metadata_key: metadata.parse_value(await request.body())})
        return await self._change(endpoint_id, if_match, operation)

    async def delete_value(self, endpoint_id: IdInPath, metadata_key: KeyInPath, if_match: IfMatch = None) -> Response:
        """Delete a metadata key."""
        return await self._change(endpoint_id, if_match, metadata.delete_key(metadata_key))

    async def _change(self, endpoint_id: str, if_match: str | None, operation: Operation) -> Response:
        def decide(endpoint: Endpoint) -> metadata.Metadata:
            check_if_match(if_match, endpoint.revision)
            return operation(endpoint.metadata)

        async def change() -> Endpoint:
            async with self._register.turn(endpoint_id):
                return await self._register.change_metadata(endpoint_id, decide)

        endpoint = await self._in_time(change())
        return Response(status_code=204, headers={"ETag": etag_of(endpoint.revision)})

    async def _in_time(self, work: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(self._request_timeout):
                return await work
        except TimeoutError as exc:
            raise DeadlineExceeded("not done in time") from exc


def _answer(endpoint: Endpoint, body: Any, if_none_match: str | None) -> Response:
    headers = {"ETag": etag_of(endpoint.revision)}
    if is_unchanged(if_none_match, endpoint.revision):
        return Response(status_code=304, headers=headers)
    return json_response(body, headers=headers)


def _includes_metadata(include: str | None) -> bool:
    return include is not None and "metadata" in include.split(",")


def _ids(endpoint_ids: str) -> list[str]:
    found = list(dict.fromkeys(endpoint_ids.split(",")))
    if len(found) > MAX_LIMIT:
        raise BadRequest(f"name at most {MAX_LIMIT} endpoints")
    return found
