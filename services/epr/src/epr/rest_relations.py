"""The REST interface of relations: `/epr/api/v1/relations...` and `/epr/api/v1/endpoints/{endpointId}/relations`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Body, Query, Response

from epr.relations import MAX_CHANGES, Relation, Relations
from epr.rest_bodies import EXAMPLE_ID, OTHER_EXAMPLE_ID, RelationBody, RelationPage
from epr.rest_routes import READ, UPDATE, IdInPath, Route, in_time
from kaa_common.rest import errors, json_response

_RELATION = {"type": "contains", "from": EXAMPLE_ID, "to": OTHER_EXAMPLE_ID}
_EXAMPLE: dict[str, Any] = {"requestBody": {"content": {"application/json": {"example": [_RELATION]}}}}
RelationsInBody = Annotated[list[RelationBody], Body(max_length=MAX_CHANGES)]


class RelationsApi:
    tag = "relations"

    def __init__(self, relations: Relations, request_timeout: float) -> None:
        self._relations = relations
        self._request_timeout = request_timeout

    def routes(self) -> Sequence[Route]:
        found = {200: {"model": RelationPage}, **errors(404)}
        linked = {200: {"model": list[RelationBody]}, **errors(404, 409, 413, 504)}
        return (
            Route("GET", "/endpoints/{endpointId}/relations", READ, self.get, 200, found),
            Route("PUT", "/relations/link", UPDATE, self.link, 200, linked, _EXAMPLE),
            Route("PUT", "/relations/unlink", UPDATE, self.unlink, 204, errors(413, 504), _EXAMPLE),
        )

    async def get(
        self,
        endpoint_id: IdInPath,
        relation: Annotated[
            Literal["contains", "!contains"],
            Query(description="`contains`: what the endpoint contains; `!contains`: what it is contained in."),
        ],
    ) -> Response:
        """Get the relations of an endpoint in one direction: all of them."""
        content = [_body(found) for found in await self._relations.of(endpoint_id, relation)]
        return json_response({"totalElements": len(content), "content": content})

    async def link(self, relations: RelationsInBody) -> Response:
        """Make relations between endpoints, which must be registered; those that are there already stay."""
        wanted = [_relation(relation) for relation in relations]
        await in_time(self._request_timeout, self._relations.link(wanted))
        return json_response([_body(relation) for relation in dict.fromkeys(wanted)])

    async def unlink(self, relations: RelationsInBody) -> Response:
        """Remove relations between endpoints, as far as they are there."""
        await in_time(self._request_timeout, self._relations.unlink([_relation(relation) for relation in relations]))
        return Response(status_code=204)


def _relation(body: RelationBody) -> Relation:
    return Relation(body.from_, body.to)


def _body(relation: Relation) -> dict[str, Any]:
    return {"type": relation.type, "from": relation.from_id, "to": relation.to_id}
