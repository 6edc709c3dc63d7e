"""The JSON bodies of the REST interface."""

from typing import Annotated, Self

from pydantic import Field

from creds.model import Token
from kaa_common.clock import iso_timestamp
from kaa_common.rest import Body

Timestamp = Annotated[str, Field(examples=["2017-03-17T11:30:02.643Z"])]
Status = Annotated[str, Field(examples=["Active"])]


class NewTokenBody(Body):
    """A token to provision."""

    application_name: Annotated[str, Field(description="That of the endpoint.")]
    token: Annotated[str | None, Field(description="Generated when it is missing.")] = None


class StatusBody(Body):
    status: Status


class TokenBody(Body):
    endpoint_token_id: str
    application_name: str
    status: Status
    created_date: Timestamp
    update_date: Timestamp | None = None

    @classmethod
    def of(cls, token: Token) -> Self:
        return cls(**_fields(token))


class ProvisionedTokenBody(TokenBody):
    """The only answer that ever has the value of the token."""

    token: str

    @classmethod
    def with_value(cls, token: Token, value: str) -> Self:
        return cls(**_fields(token), token=value)


class TokensBody(Body):
    content: list[TokenBody]
    total_elements: int


def _fields(token: Token) -> dict[str, str]:
    fields = {
        "endpoint_token_id": token.id,
        "application_name": token.app_name,
        "status": str(token.status),
        "created_date": iso_timestamp(token.created_ms),
    }
    if token.updated_ms is not None:
        fields["update_date"] = iso_timestamp(token.updated_ms)
    return fields
