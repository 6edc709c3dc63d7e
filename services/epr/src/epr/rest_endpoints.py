"""The REST interface of endpoints: `/epr/api/v1/endpoints...`, all but their metadata, relations and batches."""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response

from epr import metadata
from epr.filters.filters import Filters
from epr.listing import Listing, Page
from epr.model import Endpoint
from epr.register import Register
from epr.registration import Registrar, Registration
from epr.relations import Relation, Relations
from epr.rest_bodies import (
    EXAMPLE_APP_VERSION,
    EXAMPLE_ID,
    EXAMPLE_QUERY,
    AppVersionBody,
    AppVersionReference,
    DeletionAnswer,
    DeletionBody,
    EndpointBody,
    EndpointPage,
    NewRelationBody,
    RegistrationAnswer,
    RegistrationBody,
    SearchBody,
    app_version_body,
    endpoint_body,
    registration_answer,
)
from epr.rest_routes import (
    CHANGING,
    CREATE,
    DELETE,
    NOT_MODIFIED,
    READ,
    READING,
    UPDATE,
    IdInPath,
    IfMatch,
    IfNoneMatch,
    Route,
    TenantId,
    answer_about,
    check_tenant,
    in_time,
    model_body,
    read_model,
)
from epr.search import Search, names_in
from kaa_common.app_versions import AppVersions
from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import BadRequest, Conflict, KaaError
from kaa_common.rest import DEFAULT_LIMIT, MAX_LIMIT, Limit, Offset, check_if_match, errors, etag_of, json_response

DELETED_AT_ONCE = 16
LEVELS_AROUND_METADATA = 1

Include = Annotated[
    list[str] | None,
    Query(description="`metadata`, `filters` or both, comma-separated. Filters are in the answer in any case."),
]
METADATA_FILTER = (
    "Pairs, comma-separated, all of which must hold: `city=Kyiv,floor=3`. A key alone must exist. `3` and `true` are "
    'the number and the boolean, or the text; quoted, `"3"`, the text alone, which may hold commas then. Or a JSON '
    'object of conditions as in the MongoDB query language: `{"floor": {"$gt": 2}}`.'
)
MULTI_FILTER = "A text that the endpoint's id, its application version or a value of its metadata contains."
REGEX = (
    "Whether the values of `metadataFilter` and the text of `multiFilter` are regular expressions: literals, `.`, "
    "classes, `^`, `$`."
)


class EndpointsApi:
    tag = "endpoints"

    def __init__(
        self,
        register: Register,
        registrar: Registrar,
        app_versions: AppVersions,
        listing: Listing,
        filters: Filters,
        relations: Relations,
        *,
        tenant: str,
        request_timeout: float,
    ) -> None:
        self._register = register
        self._registrar = registrar
        self._app_versions = app_versions
        self._listing = listing
        self._filters = filters
        self._relations = relations
        self._tenant = tenant
        self._request_timeout = request_timeout

    def routes(self) -> Sequence[Route]:
        all_, one = "/endpoints", "/endpoints/{endpointId}"
        registered = {201: {"model": RegistrationAnswer}, **errors(404, 409, 413, 504)}
        page = {200: {"model": EndpointPage}, **errors(404, 409)}
        registration = model_body(
            RegistrationBody, {"appVersion": EXAMPLE_APP_VERSION, "metadata": {"level": 3, "room": 234}}
        )
        search = model_body(SearchBody, {"applicationName": "smart_kettle", "query": EXAMPLE_QUERY})
        deletion = model_body(DeletionBody, {"endpointIds": [EXAMPLE_ID]})
        app_version = model_body(AppVersionReference, EXAMPLE_APP_VERSION)
        deleted = {200: {"model": DeletionAnswer}, **errors(413)}
        return (
            Route("POST", all_, CREATE, self.register, 201, registered, registration),
            Route("GET", all_, READ, self.list_endpoints, 200, {**page, **NOT_MODIFIED}),
            Route("POST", f"{all_}/search", READ, self.search, 200, {**page, **errors(413)}, search),
            Route("POST", f"{all_}/delete", DELETE, self.unregister_many, 200, deleted, deletion),
            Route("GET", one, READ, self.get, 200, {200: {"model": EndpointBody}, **READING}),
            Route("DELETE", one, DELETE, self.unregister, 204, CHANGING),
            Route(
                "GET",
                f"{one}/app-version",
                READ,
                self.get_app_version,
                200,
                {200: {"model": AppVersionBody}, **READING},
            ),
            Route(
                "PUT",
                f"{one}/app-version",
                UPDATE,
                self.set_app_version,
                200,
                {200: {"model": AppVersionBody}, **errors(404, 409, 412, 413, 504)},
                app_version,
            ),
        )

    async def register(self, request: Request) -> Response:
        """Register an endpoint, with a token that is given or generated.

        Registering again with the same id and token changes nothing and has the same answer. Relations are made when
        the endpoint is registered; if they cannot be then, registering again makes them.
        """
        body = await read_model(request, RegistrationBody, levels=LEVELS_AROUND_METADATA)
        metadata.check_keys(body.metadata)
        app_version = await self._app_versions.get(body.app_version.name, Deadline.after(self._request_timeout))
        await self._relations.ends(_other_end(relation) for relation in body.relations)
        wanted = Registration(
            endpoint_id=body.endpoint_id,
            app_version=app_version,
            metadata=body.metadata,
            token=body.endpoint_token,
        )
        endpoint, token = await self._registrar.register(wanted)
        if body.relations:
            await self._relations.link([_relation(relation, endpoint.id) for relation in body.relations])
        location = f"{request.url.replace(query='')}/{endpoint.id}"
        return json_response(
            registration_answer(endpoint, token), 201, {"Location": location, "ETag": etag_of(endpoint.revision)}
        )

    async def list_endpoints(
        self,
        endpoint_id: Annotated[list[str] | None, Query(alias="endpointId", description="Ids, comma-separated.")] = None,
        application: Annotated[str | None, Query(alias="applicationName")] = None,
        app_version: Annotated[str | None, Query(alias="applicationVersionName")] = None,
        filter_id: Annotated[
            str | None, Query(alias="filterId", description="Id of a filter that is active; 409 while it is pending.")
        ] = None,
        metadata_filter: Annotated[
            str, Query(alias="metadataFilter", max_length=16_384, description=METADATA_FILTER, examples=["city=Kyiv"])
        ] = "",
        multi_filter: Annotated[str, Query(alias="multiFilter", max_length=128, description=MULTI_FILTER)] = "",
        regex: Annotated[Literal["true", "false", ""], Query(description=REGEX)] = "",
        include: Include = None,
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
        after: Annotated[
            str | None,
            Query(max_length=1024, description="`next` of the page before: quicker than an offset, and exact."),
        ] = None,
        tenant_id: TenantId = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """List endpoints.

        By application, application version and age; what `metadataFilter` or `multiFilter` finds by id.
        """
        if tenant_id not in (None, self._tenant):
            return json_response({"totalElements": 0, "content": []})
        search = Search(
            application=application,
            app_version=app_version,
            filter_id=filter_id,
            metadata_filter=metadata_filter,
            multi_filter=multi_filter,
            regex=regex == "true",
        )
        page = await self._page(search, _ids(endpoint_id), offset, limit, after)
        answer = json_response(await self._page_body(page, with_metadata="metadata" in names_in(include)))
        etag = f'W/"{blake2b(bytes(answer.body), digest_size=12).hexdigest()}"'
        answer.headers["ETag"] = etag
        if if_none_match is not None and etag in if_none_match:
            return Response(status_code=304, headers={"ETag": etag})
        return answer

    async def search(self, request: Request) -> Response:
        """Search endpoints, as the list does or with a query of the kind that filters have.

        A search for a text that a metadata key is equal to, for a filter, an application or an application version is
        answered through an index. Any other looks at all endpoints of the application: make a filter of what is
        searched for often.
        """
        body = await read_model(request, SearchBody, levels=1)
        if body.tenant_id not in (None, self._tenant):
            return json_response({"totalElements": 0, "content": []})
        search = Search(
            application=body.application_name,
            app_version=body.application_version_name,
            filter_id=body.filter_id,
            metadata_filter=body.metadata_filter,
            multi_filter=body.multi_filter,
            regex=body.regex in (True, "true"),
            query=body.query,
        )
        ids = body.endpoint_ids if body.endpoint_id is None else [*(body.endpoint_ids or ()), body.endpoint_id]
        page = await self._page(search, _ids(ids), body.offset, body.limit, body.after)
        include = [body.include] if isinstance(body.include, str) else body.include
        return json_response(await self._page_body(page, with_metadata="metadata" in names_in(include)))

    async def unregister_many(self, request: Request) -> Response:
        """Unregister up to 1,000 endpoints; the answer says what became of each."""
        body = await read_model(request, DeletionBody, levels=0)
        failures: dict[str, str] = {}
        places = asyncio.Semaphore(DELETED_AT_ONCE)

        async def unregister(endpoint_id: str) -> None:
            async with places:
                try:
                    await self._registrar.unregister(endpoint_id, lambda _: None)
                except KaaError as exc:
                    failures[endpoint_id] = str(exc)

        wanted = [*dict.fromkeys(body.endpoint_ids)]
        async with asyncio.TaskGroup() as tasks:
            for endpoint_id in wanted:
                tasks.create_task(unregister(endpoint_id), name="unregistration")
        deleted = [endpoint_id for endpoint_id in wanted if endpoint_id not in failures]
        failed = [
            {"endpointId": endpoint_id, "status": "FAILED", "statusReason": failures[endpoint_id]}
            for endpoint_id in wanted
            if endpoint_id in failures
        ]
        return json_response(
            {"deletedCount": len(deleted), "failedCount": len(failed), "deleted": deleted, "failed": failed}
        )

    async def get(
        self,
        endpoint_id: IdInPath,
        include: Include = None,
        tenant_id: TenantId = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Get an endpoint."""
        check_tenant(tenant_id, self._tenant)
        endpoint = await self._register.get(endpoint_id)
        existing = await self._existing_filters([endpoint])
        body = endpoint_body(endpoint, with_metadata="metadata" in names_in(include), filters=existing)
        return answer_about(endpoint, body, if_none_match)

    async def unregister(self, endpoint_id: IdInPath, if_match: IfMatch = None) -> Response:
        """Unregister an endpoint: its metadata and its relations are gone, its tokens end."""
        await in_time(
            self._request_timeout,
            self._registrar.unregister(endpoint_id, lambda endpoint: check_if_match(if_match, endpoint.revision)),
        )
        return Response(status_code=204)

    async def get_app_version(self, endpoint_id: IdInPath, if_none_match: IfNoneMatch = None) -> Response:
        """Get the application version of an endpoint, and when it got that."""
        endpoint = await self._register.get(endpoint_id)
        return answer_about(endpoint, app_version_body(endpoint), if_none_match)

    async def set_app_version(self, request: Request, endpoint_id: IdInPath, if_match: IfMatch = None) -> Response:
        """Give an endpoint another version of its application; 409 for one of another application.

        A device that connects with another version brings the endpoint to that one again.
        """
        body = await read_model(request, AppVersionReference, levels=0)
        wanted = await self._app_versions.get(body.name, Deadline.after(self._request_timeout))

        def decide(endpoint: Endpoint) -> Endpoint:
            check_if_match(if_match, endpoint.revision)
            if endpoint.application != wanted.app_name:
                raise Conflict("an endpoint stays with its application")
            return endpoint.with_app_version(wanted.name, now_ms())

        async def change() -> Endpoint:
            async with self._register.turn(endpoint_id):
                return await self._register.change(endpoint_id, decide)

        endpoint = await in_time(self._request_timeout, change())
        return answer_about(endpoint, app_version_body(endpoint), None)

    async def _page(
        self, search: Search, endpoint_ids: Sequence[str] | None, offset: int, limit: int, after: str | None
    ) -> Page:
        if endpoint_ids is None:
            return await self._listing.page(search, offset=offset, limit=limit, after=after)
        return await self._listing.page_of(endpoint_ids, search, offset=offset, limit=limit)

    async def _page_body(self, page: Page, *, with_metadata: bool) -> Mapping[str, Any]:
        existing = await self._existing_filters(page.endpoints)
        content = [endpoint_body(e, with_metadata=with_metadata, filters=existing) for e in page.endpoints]
        body: dict[str, Any] = {"totalElements": page.total, "content": content}
        return body if page.next is None else body | {"next": page.next}

    async def _existing_filters(self, endpoints: Sequence[Endpoint]) -> set[str]:
        matched = {filter_id for endpoint in endpoints for filter_id in endpoint.filters}
        return await self._filters.existing(matched) if matched else matched


def _relation(body: NewRelationBody, endpoint_id: str) -> Relation:
    return Relation(body.from_ or endpoint_id, body.to or endpoint_id)


def _other_end(body: NewRelationBody) -> str:
    return body.from_ or body.to or ""


def _ids(endpoint_ids: Sequence[str] | None) -> Sequence[str] | None:
    """The endpoints that are asked for; None when no parameter says so."""
    if endpoint_ids is None:
        return None
    found = names_in(endpoint_ids)
    if len(found) > MAX_LIMIT:
        raise BadRequest(f"name at most {MAX_LIMIT} endpoints")
    return found
