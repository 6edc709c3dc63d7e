"""The bodies of the register's REST interface, and how its OpenAPI document shows them.

Bodies that hold metadata are read from their text and written as text, so that every value stays as it is; the models
here check what surrounds it, and describe what is answered.
"""

from collections.abc import Collection
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from epr.metadata import KEY_PATTERN
from epr.model import ENDPOINT_ID_PATTERN, Endpoint
from epr.tokens import ProvisionedToken
from kaa_common.clock import iso_timestamp
from kaa_common.rest import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, Body

EXAMPLE_ID: Final = "4c9eeb7c-0ed0-4b0a-8b4c-0d3f4f0e2a11"
OTHER_EXAMPLE_ID: Final = "8f2d1c5e-61a7-4a30-9d7e-2b1c0a9f8e33"
EXAMPLE_METADATA: Final = {"model": "BFG 9000", "mac": "00-14-22-01-23-45"}
EXAMPLE_PATCH: Final = [
    {"op": "test", "path": "/model", "value": "BFG 9000"},
    {"op": "add", "path": "/location", "value": {"room": 234}},
]
EXAMPLE_APP_VERSION: Final = {"name": "smart_kettle-v1"}
EXAMPLE_QUERY: Final = {"metadata.floor": {"$gte": 2}, "application_version": "smart_kettle-v1"}
_EXAMPLE_DATE = "2017-03-17T11:30:02.643Z"

EndpointId = Annotated[str, Field(pattern=ENDPOINT_ID_PATTERN, description="Id of an endpoint.", examples=[EXAMPLE_ID])]
EndpointToken = Annotated[
    str,
    Field(
        pattern="^[^+#/.]+$",
        max_length=128,
        description="Generated when absent. Unique in the application.",
        examples=["JTjdbENzHh"],
    ),
]
Metadata = Annotated[
    dict[Annotated[str, Field(pattern=KEY_PATTERN)], Any],
    Field(default_factory=dict, description="Any JSON by key.", examples=[EXAMPLE_METADATA]),
]


class AppVersionReference(Body):
    name: str = Field(max_length=128, examples=[EXAMPLE_APP_VERSION["name"]])
    registered_date: str = Field("", description="Ignored: whoever sends back what was read may leave it in.")


class NewRelationBody(Body):
    """A relation of an endpoint that is registered."""

    type: Literal["contains"]
    from_: EndpointId | None = Field(None, alias="from", description="The endpoint that contains the new one.")
    to: EndpointId | None = Field(None, description="The endpoint that the new one contains.")

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if (self.from_ is None) == (self.to is None):
            raise ValueError("a relation of a new endpoint has either from or to")
        return self


class RelationBody(Body):
    """The endpoint `from` contains the endpoint `to`."""

    type: Literal["contains"]
    from_: EndpointId = Field(alias="from")
    to: EndpointId = Field(examples=[OTHER_EXAMPLE_ID])


class RelationPage(Body):
    total_elements: int = Field(examples=[1])
    content: list[RelationBody]


class RegistrationBody(Body):
    """An endpoint to register."""

    app_version: AppVersionReference
    metadata: Metadata
    endpoint_token: EndpointToken | None = Field(None, repr=False)
    endpoint_id: EndpointId | None = None
    relations: list[NewRelationBody] = Field(default_factory=list, max_length=1000)


class RegistrationAnswer(Body):
    """A registered endpoint's token; it is shown this once."""

    token: str = Field(examples=["JTjdbENzHh"])
    status: str = Field(examples=["Inactive"])
    endpoint_id: EndpointId


class AppVersionBody(Body):
    name: str = Field(examples=[EXAMPLE_APP_VERSION["name"]])
    registered_date: str = Field(description="When the endpoint got it.", examples=[_EXAMPLE_DATE])


class EndpointBody(Body):
    endpoint_id: EndpointId
    created_date: str = Field(examples=[_EXAMPLE_DATE])
    app_version: AppVersionBody
    filters: list[str] = Field(description="Ids of the filters that it matches.", examples=[["0f3a9c6be1d2478a5b60"]])
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="With `include=metadata`.", examples=[EXAMPLE_METADATA]
    )
    metadata_updated_date: str = Field("", description="Absent when there never was any.", examples=[_EXAMPLE_DATE])


class EndpointPage(Body):
    total_elements: int = Field(
        description="Of all pages. A number above 10,000 may be some seconds old.", examples=[1]
    )
    content: list[EndpointBody]
    next: str = Field("", description="What `after` takes for the next page; absent when there is none.")


class SearchBody(Body):
    """What endpoints are searched for: all of it must hold. Members mean what the parameters of the list do."""

    endpoint_ids: list[EndpointId] | None = Field(None, max_length=MAX_LIMIT)
    endpoint_id: str | None = Field(None, description="Ids, comma-separated, as the list has them.")
    application_name: str | None = None
    application_version_name: str | None = None
    filter_id: str | None = None
    metadata_filter: str = Field("", max_length=16_384, examples=["city=Kyiv"])
    multi_filter: str = Field("", max_length=128)
    regex: bool | Literal["true", "false", ""] = False
    query: dict[str, Any] | None = Field(None, description="As a filter's query.", examples=[EXAMPLE_QUERY])
    include: str | list[str] = Field("", description="As a string comma-separated.", examples=[["metadata"]])
    tenant_id: str | None = None
    offset: int = Field(0, ge=0, le=MAX_OFFSET)
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    after: str | None = Field(None, max_length=1024, description="`next` of the page before.")


class DeletionBody(Body):
    endpoint_ids: list[EndpointId] = Field(min_length=1, max_length=MAX_LIMIT)


class DeletionFailure(Body):
    endpoint_id: EndpointId
    status: str = Field(examples=["FAILED"])
    status_reason: str = Field(examples=["no endpoint with this id"])


class DeletionAnswer(Body):
    deleted_count: int = Field(examples=[1])
    failed_count: int = Field(examples=[0])
    deleted: list[EndpointId]
    failed: list[DeletionFailure]


class BatchItemBody(Body):
    metadata: Metadata
    endpoint_token: EndpointToken | None = Field(None, repr=False)
    endpoint_id: EndpointId | None = None


class BatchBody(Body):
    """Endpoints to register in the background."""

    app_version: AppVersionReference
    endpoints: list[BatchItemBody] = Field(min_length=1, max_length=1000)


class BatchAnswer(Body):
    task_id: str = Field(description="The only way to the tokens: nobody else can read them, so keep it secret.")


class BatchCreated(Body):
    endpoint_token: str = Field(examples=["JTjdbENzHh"])
    endpoint_id: EndpointId


class BatchFailed(Body):
    endpoint_token: str = Field("", description="Absent when none was given.", examples=["JTjdbENzHh"])
    metadata: dict[str, Any]
    status: str = Field(examples=["FAILED"])
    status_reason: str = Field(examples=["the endpoint token is taken"])


class BatchStatus(Body):
    """What became of the endpoints so far; all are decided when the counts add up to their number."""

    created_count: int = Field(examples=[1])
    failed_count: int = Field(examples=[0])
    created: list[BatchCreated]
    failed: list[BatchFailed]


def registration_answer(endpoint: Endpoint, token: ProvisionedToken) -> dict[str, Any]:
    return {"token": token.value, "status": token.status, "endpointId": endpoint.id}


def app_version_body(endpoint: Endpoint) -> dict[str, Any]:
    return {"name": endpoint.app_version, "registeredDate": iso_timestamp(endpoint.app_version_at)}


def endpoint_body(endpoint: Endpoint, *, with_metadata: bool, filters: Collection[str] | None = None) -> dict[str, Any]:
    """`filters` are those that exist; None when all that the endpoint matches do."""
    body: dict[str, Any] = {
        "endpointId": endpoint.id,
        "createdDate": iso_timestamp(endpoint.created_at),
        "appVersion": app_version_body(endpoint),
        "filters": [found for found in endpoint.filters if filters is None or found in filters],
    }
    if with_metadata:
        body["metadata"] = endpoint.metadata
    if endpoint.metadata_updated_at is not None:
        body["metadataUpdatedDate"] = iso_timestamp(endpoint.metadata_updated_at)
    return body
