"""The bodies of the REST interface of filters."""

from typing import Annotated, Any

from pydantic import Field

from epr.filters.filters import FilterState
from epr.rest_bodies import EndpointBody
from kaa_common import jsontext
from kaa_common.clock import iso_timestamp
from kaa_common.errors import BadRequest
from kaa_common.rest import Body
from kaa_common.store import Document

EXAMPLE_QUERY = {"metadata": {"$elemMatch": {"key": "city", "value": "Kyiv"}}}
_EXAMPLE_ID = "0f3a9c6be1d2478a5b60"
_EXAMPLE_DATE = "2017-03-17T11:30:02.643Z"

Name = Annotated[
    str,
    Field(max_length=64, description="Unique in the application; any number may have none.", examples=["Kyiv"]),
]
Description = Annotated[str, Field(max_length=1024, examples=["All devices in Kyiv"])]
MongoQuery = Annotated[
    str | dict[str, Any],
    Field(
        description="A query of `application_version` and metadata in the MongoDB query language, as a JSON object or "
        "as a string that holds one.",
        examples=[EXAMPLE_QUERY, '{"metadata.city": "Kyiv"}'],
    ),
]


class NewFilterBody(Body):
    """A filter to make."""

    name: Name | None = None
    description: Description | None = None
    mongo_query: MongoQuery


class FilterChangesBody(Body):
    """What to change of a filter; what is absent stays as it is."""

    name: Name | None = None
    description: Description | None = None
    mongo_query: MongoQuery = Field(default_factory=dict)


class PreviewBody(Body):
    """A query to try out."""

    mongo_query: MongoQuery


class ProgressBody(Body):
    """How far a pending filter is."""

    evaluated: int = Field(examples=[40_000])
    total: int = Field(description="Endpoints of the application when it began.", examples=[100_000])


class FilterBody(Body):
    id: str = Field(examples=[_EXAMPLE_ID])
    name: str | None = Field(examples=["Kyiv"])
    description: str | None = Field(examples=["All devices in Kyiv"])
    mongo_query: dict[str, Any] = Field(examples=[EXAMPLE_QUERY])
    status: str = Field(description="`pending` until all endpoints are matched, then `active`.", examples=["active"])
    matched_endpoints_count: int = Field(examples=[12])
    progress: ProgressBody | None = Field(None, description="Of a pending filter whose endpoints are being matched.")
    created_date: str = Field(examples=[_EXAMPLE_DATE])
    updated_date: str = Field(examples=[_EXAMPLE_DATE])


class FilterPage(Body):
    total_elements: int = Field(examples=[1])
    content: list[FilterBody]


class PreviewPage(Body):
    total_elements: int = Field(examples=[12])
    content: list[EndpointBody]


def _example(body: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"example": body}}}}


NEW_FILTER_EXAMPLE = _example({"name": "Kyiv", "description": "All devices in Kyiv", "mongoQuery": EXAMPLE_QUERY})
CHANGES_EXAMPLE = _example({"mongoQuery": {"metadata.city": {"$in": ["Kyiv", "Lviv"]}}})
PREVIEW_EXAMPLE = _example({"mongoQuery": {"metadata.city": "Kyiv", "application_version": "smart_kettle-v1"}})


def query_of(mongo_query: str | Document) -> Document:
    """Raises BadRequest."""
    query = jsontext.parse(mongo_query.encode()) if isinstance(mongo_query, str) else mongo_query
    if not isinstance(query, dict):
        raise BadRequest("mongoQuery must be a JSON object")
    return query


def filter_body(state: FilterState) -> dict[str, Any]:
    filter_ = state.filter
    body: dict[str, Any] = {
        "id": filter_.id,
        "name": filter_.name,
        "description": filter_.description,
        "mongoQuery": filter_.mongo_query,
        "status": filter_.status.value,
        "matchedEndpointsCount": state.matched,
        "createdDate": iso_timestamp(filter_.created_at),
        "updatedDate": iso_timestamp(filter_.updated_at),
    }
    if state.progress is not None:
        body["progress"] = {"evaluated": state.progress.evaluated, "total": state.progress.total}
    return body
