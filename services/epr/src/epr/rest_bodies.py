"""The bodies of the register's REST interface, and how its OpenAPI document shows them.

Bodies that hold metadata are read from their text and written as text, so that every value stays as it is; the models
here check what surrounds it, and describe what is answered.
"""

from typing import Annotated, Any

from pydantic import Field

from epr.metadata import KEY_PATTERN
from epr.model import ENDPOINT_ID_PATTERN, Endpoint
from epr.tokens import ProvisionedToken
from kaa_common.clock import iso_timestamp
from kaa_common.rest import Body

_NO_TOPIC_SEPARATORS = "^[^+#/.]+$"

EXAMPLE_ID = "4c9eeb7c-0ed0-4b0a-8b4c-0d3f4f0e2a11"
EXAMPLE_METADATA = {"model": "BFG 9000", "mac": "00-14-22-01-23-45"}
EXAMPLE_PATCH = [
    {"op": "test", "path": "/model", "value": "BFG 9000"},
    {"op": "add", "path": "/location", "value": {"room": 234}},
]
_EXAMPLE_APP_VERSION = {"name": "smart_kettle-v1"}
_EXAMPLE_DATE = "2017-03-17T11:30:02.643Z"

EndpointId = Annotated[str, Field(pattern=ENDPOINT_ID_PATTERN, description="Id of an endpoint.", examples=[EXAMPLE_ID])]
MetadataKey = Annotated[str, Field(pattern=KEY_PATTERN, description="Metadata key.", examples=["model"])]


class AppVersionReference(Body):
    name: str


class RegistrationBody(Body):
    """An endpoint to register."""

    app_version: AppVersionReference
    metadata: dict[str, Any] = Field(default_factory=dict)
    endpoint_token: Annotated[str, Field(pattern=_NO_TOPIC_SEPARATORS, max_length=128)] | None = Field(None, repr=False)
    endpoint_id: EndpointId | None = None


class RegistrationAnswer(Body):
    """A registered endpoint's token; it is shown this once."""

    token: str = Field(examples=["JTjdbENzHh"])
    status: str = Field(examples=["Inactive"])
    endpoint_id: EndpointId


class AppVersionBody(Body):
    name: str = Field(examples=[_EXAMPLE_APP_VERSION["name"]])
    registered_date: str = Field(examples=[_EXAMPLE_DATE])


class EndpointBody(Body):
    endpoint_id: EndpointId
    created_date: str = Field(examples=[_EXAMPLE_DATE])
    app_version: AppVersionBody
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="With `include=metadata`.", examples=[EXAMPLE_METADATA]
    )
    metadata_updated_date: str = Field("", description="Absent when there never was any.", examples=[_EXAMPLE_DATE])


class EndpointPage(Body):
    total_elements: int = Field(examples=[1])
    content: list[EndpointBody]


def registration_answer(endpoint: Endpoint, token: ProvisionedToken) -> dict[str, Any]:
    return {"token": token.value, "status": token.status, "endpointId": endpoint.id}


def endpoint_body(endpoint: Endpoint, *, with_metadata: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "endpointId": endpoint.id,
        "createdDate": iso_timestamp(endpoint.created_at),
        "appVersion": {"name": endpoint.app_version, "registeredDate": iso_timestamp(endpoint.app_version_at)},
    }
    if with_metadata:
        body["metadata"] = endpoint.metadata
    if endpoint.metadata_updated_at is not None:
        body["metadataUpdatedDate"] = iso_timestamp(endpoint.metadata_updated_at)
    return body


def _request_body(schema: dict[str, Any], example: Any, content_type: str = "application/json") -> dict[str, Any]:
    content = {content_type: {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


REGISTRATION_REQUEST = _request_body(
    {
        "type": "object",
        "required": ["appVersion"],
        "additionalProperties": False,
        "properties": {
            "appVersion": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            "metadata": {"type": "object", "description": "Keys are `^[a-zA-Z0-9_]+$`, values any JSON."},
            "endpointToken": {
                "type": "string",
                "pattern": _NO_TOPIC_SEPARATORS,
                "maxLength": 128,
                "description": "Generated when absent. Unique in the application.",
            },
            "endpointId": {
                "type": "string",
                "pattern": ENDPOINT_ID_PATTERN,
                "description": "Generated (UUID) when absent.",
            },
        },
    },
    {"appVersion": _EXAMPLE_APP_VERSION, "metadata": {"level": 3, "room": 234}},
)
METADATA_REQUEST = _request_body({"type": "object"}, EXAMPLE_METADATA)
VALUE_REQUEST = _request_body({}, EXAMPLE_METADATA["model"])
PATCH_REQUEST = _request_body(
    {"type": "array", "items": {"type": "object", "required": ["op", "path"]}},
    EXAMPLE_PATCH,
    "application/json-patch+json",
)


def answers(schema: dict[str, Any], example: Any, description: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of a 200 whose body is JSON without a model."""
    return {200: {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}}
