"""The REST interface of filters: `/epr/api/v1/applications/{applicationName}/filters...`.

Queries are read from and written to their text (`jsontext`), so that every constant in them stays as it is.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from epr.applications import Applications
from epr.filters.filters import Filters, FilterTexts
from epr.filters.model import Filter
from epr.filters.rest_bodies import (
    CHANGES_EXAMPLE,
    NEW_FILTER_EXAMPLE,
    PREVIEW_EXAMPLE,
    FilterBody,
    FilterChangesBody,
    FilterPage,
    NewFilterBody,
    PreviewBody,
    PreviewPage,
    filter_body,
    query_of,
)
from epr.listing import Listing
from epr.rest_bodies import endpoint_body
from epr.search import Search, names_in
from kaa_common.rest import (
    DEFAULT_LIMIT,
    Limit,
    Offset,
    StrictRoute,
    check_if_match,
    errors,
    etag_of,
    json_response,
    requires,
)

ApplicationName = Annotated[str, Path(alias="applicationName", description="Name of an application.")]
FilterId = Annotated[str, Path(alias="filterId", description="Id of a filter.")]
IfMatch = Annotated[str | None, Header(description="ETag the filter must have, else 412.")]

CREATE, READ = "application:endpoint-filter:create", "application:endpoint-filter:read"
UPDATE, DELETE = "application:endpoint-filter:update", "application:endpoint-filter:delete"
READ_ENDPOINTS = "endpoint:read"
Answers = dict[int | str, dict[str, Any]]
Route = tuple[str, str, str, Callable[..., Any], int, Answers, dict[str, Any] | None]
"""Method, path, scope, handler, status code of its success, answers, OpenAPI of its request. Any: as FastAPI has it."""


class FilterApi:
    def __init__(self, filters: Filters, listing: Listing, applications: Applications) -> None:
        self._filters = filters
        self._listing = listing
        self._applications = applications

    def router(self) -> APIRouter:
        router = APIRouter(route_class=StrictRoute, tags=["filters"])
        all_ = "/applications/{applicationName}/filters"
        one = all_ + "/{filterId}"
        shown: Answers = {200: {"model": FilterBody}}
        created: Answers = {201: {"model": FilterBody}, **errors(404, 409, 413, 504)}
        previewed: Answers = {200: {"model": PreviewPage}, **errors(413)}
        routes: tuple[Route, ...] = (
            ("GET", all_, READ, self.list_filters, 200, {200: {"model": FilterPage}, **errors(404, 504)}, None),
            ("POST", all_, CREATE, self.create, 201, created, NEW_FILTER_EXAMPLE),
            ("POST", f"{all_}/preview", READ_ENDPOINTS, self.preview, 200, previewed, PREVIEW_EXAMPLE),
            ("GET", one, READ, self.get, 200, {**shown, **errors(404)}, None),
            ("PATCH", one, UPDATE, self.change, 200, {**shown, **errors(404, 409, 412, 413)}, CHANGES_EXAMPLE),
            ("DELETE", one, DELETE, self.delete, 204, errors(404, 412), None),
        )
        for method, path, scope, handler, status_code, described, example in routes:
            router.add_api_route(
                path,
                handler,
                methods=[method],
                dependencies=[requires(scope)],
                status_code=status_code,
                responses=described,
                openapi_extra=example,
            )
        return router

    async def list_filters(
        self,
        application: ApplicationName,
        name: Annotated[str | None, Query(description="The name of the only filter wanted.")] = None,
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response:
        """List the filters of an application, the oldest first."""
        total, filters = await self._filters.page(application, name=name, offset=offset, limit=limit)
        if not total:
            await self._applications.versions_of(application)
        content = [filter_body(state) for state in await self._filters.states(application, filters)]
        return json_response({"totalElements": total, "content": content})

    async def create(self, application: ApplicationName, body: NewFilterBody, request: Request) -> Response:
        """Make a filter: pending until every endpoint of the application is matched against it, then active."""
        await self._applications.versions_of(application)
        texts = FilterTexts(name=body.name, description=body.description, mongo_query=query_of(body.mongo_query))
        created = await self._filters.create(application, texts)
        return await self._answer(created, 201, {"Location": f"{request.url.replace(query='')}/{created.id}"})

    async def preview(
        self,
        application: ApplicationName,
        body: PreviewBody,
        include: Annotated[list[str] | None, Query(description="`metadata` to have the endpoints' metadata.")] = None,
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response:
        """Find the endpoints that match a query now, without making a filter: as a search for them does."""
        search = Search(application=application, query=query_of(body.mongo_query))
        page = await self._listing.page(search, offset=offset, limit=limit)
        with_metadata = "metadata" in names_in(include)
        content = [endpoint_body(endpoint, with_metadata=with_metadata) for endpoint in page.endpoints]
        return json_response({"totalElements": page.total, "content": content})

    async def get(self, application: ApplicationName, filter_id: FilterId) -> Response:
        """Get a filter."""
        return await self._answer(await self._filters.get(filter_id, application))

    async def change(
        self, application: ApplicationName, filter_id: FilterId, body: FilterChangesBody, if_match: IfMatch = None
    ) -> Response:
        """Change a filter. With another query it is pending again until every endpoint is matched against that."""
        given = body.model_fields_set
        query = query_of(body.mongo_query)

        def decide(found: Filter) -> FilterTexts:
            check_if_match(if_match, found.revision)
            return FilterTexts(
                name=body.name if "name" in given else found.name,
                description=body.description if "description" in given else found.description,
                mongo_query=query if "mongo_query" in given else found.mongo_query,
            )

        return await self._answer(await self._filters.change(filter_id, application, decide))

    async def delete(self, application: ApplicationName, filter_id: FilterId, if_match: IfMatch = None) -> Response:
        """Delete a filter. Its endpoints are told of by its one event, not by one of each."""
        await self._filters.delete(filter_id, application, lambda found: check_if_match(if_match, found.revision))
        return Response(status_code=204)

    async def _answer(self, filter_: Filter, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
        [state] = await self._filters.states(filter_.application, [filter_])
        return json_response(filter_body(state), status_code, {**(headers or {}), "ETag": etag_of(filter_.revision)})
