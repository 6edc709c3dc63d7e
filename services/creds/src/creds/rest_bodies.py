"""The JSON bodies of the REST interface."""

from typing import Annotated, Any, Self

from pydantic import Field

from creds.cut_off import Receipt
from creds.model import Token, TokenStatus
from kaa_common.clock import iso_timestamp
from kaa_common.rest import Body

EXAMPLE_ENDPOINT_ID = "4c9eeb7c-0ed0-4b0a-8b4c-0d3f4f0e2a11"
EXAMPLE_TOKEN_ID = "e7787dd3-78b1-453e-8820-a3752e4dfcb0"  # noqa: S105 # an id, and no token
Timestamp = Annotated[str, Field(examples=["2017-03-17T11:30:02.643Z"])]
StatusName = Annotated[TokenStatus, Field(strict=False, examples=["Active"])]
ApplicationName = Annotated[str, Field(examples=["smart_kettle"])]
TokenValue = Annotated[str, Field(description="What the device identifies itself with.", examples=["JTjdbENzHh"])]
Milliseconds = Annotated[float, Field(examples=[2.4])]


class NewTokenBody(Body):
    """A token to provision."""

    application_name: Annotated[ApplicationName, Field(description="That of the endpoint.")]
    token: Annotated[
        str | None,
        Field(
            description="1 to 128 characters other than + # / . and control characters; generated when it is missing.",
            examples=["JTjdbENzHh"],
        ),
    ] = None


class StatusBody(Body):
    """The status to change into."""

    status: Annotated[StatusName, Field(examples=["Suspended"])]


class ConfirmationBody(Body):
    """A replica that confirmed."""

    replica_id: Annotated[str, Field(examples=["kpc-1f0c5e2a7b9d"])]
    ended_sessions: Annotated[int, Field(description="Sessions that were ended there.", examples=[1])]
    milliseconds: Annotated[Milliseconds, Field(description="Until the replica confirmed.")]


class CutOffBody(Body):
    """The receipt of a withdrawal: who makes no use of it any more."""

    confirmed: list[ConfirmationBody]
    pending: Annotated[
        list[str],
        Field(
            description="Replicas that did not confirm in time; they ask again before they let anything in.",
            examples=[["kpc-5b1e90a7c3d2"]],
        ),
    ]
    milliseconds: Annotated[Milliseconds, Field(description="Until all had confirmed or the time was over.")]

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        return cls(
            confirmed=[
                ConfirmationBody(
                    replica_id=confirmation.replica_id,
                    ended_sessions=confirmation.ended_sessions,
                    milliseconds=confirmation.milliseconds,
                )
                for confirmation in receipt.confirmed
            ],
            pending=list(receipt.pending),
            milliseconds=receipt.milliseconds,
        )


class WithdrawnBody(Body):
    """The answer to a deletion."""

    cut_off: CutOffBody


class TokenBody(Body):
    """A token, without its value."""

    endpoint_token_id: Annotated[str, Field(examples=[EXAMPLE_TOKEN_ID])]
    application_name: ApplicationName
    status: StatusName
    created_date: Timestamp
    update_date: Annotated[Timestamp | None, Field(description="When its status was changed last.")] = None

    @classmethod
    def of(cls, token: Token) -> Self:
        return cls(**_fields(token))


class ChangedTokenBody(TokenBody):
    """A token whose status was changed."""

    cut_off: Annotated[CutOffBody | None, Field(description="When the token is suspended or revoked.")] = None

    @classmethod
    def with_receipt(cls, token: Token, receipt: Receipt | None) -> Self:
        return cls(**_fields(token), cut_off=None if receipt is None else CutOffBody.of(receipt))


class ProvisionedTokenBody(TokenBody):
    """The only answer that ever has the value of the token."""

    token: TokenValue

    @classmethod
    def with_value(cls, token: Token, value: str) -> Self:
        return cls(**_fields(token), token=value)


class TokensBody(Body):
    """A page of tokens."""

    content: list[TokenBody]
    total_elements: Annotated[int, Field(description="Of all pages.", examples=[1])]


def _fields(token: Token) -> dict[str, Any]:  # Any: keyword arguments
    fields = {
        "endpoint_token_id": token.id,
        "application_name": token.app_name,
        "status": token.status,
        "created_date": iso_timestamp(token.created_ms),
    }
    if token.updated_ms is not None:
        fields["update_date"] = iso_timestamp(token.updated_ms)
    return fields
