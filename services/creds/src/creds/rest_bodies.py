"""The JSON bodies of the REST interface."""

from typing import Annotated, Any, Self

from pydantic import Field

from creds.cut_off import Receipt
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


class ConfirmationBody(Body):
    replica_id: Annotated[str, Field(examples=["kpc-1f0c5e2a7b9d"])]
    ended_sessions: Annotated[int, Field(description="Sessions of the endpoint that were ended.")]
    milliseconds: Annotated[float, Field(description="Until the replica confirmed.")]


class CutOffBody(Body):
    """The receipt of a withdrawal: who makes no use of it any more."""

    confirmed: list[ConfirmationBody]
    pending: Annotated[
        list[str],
        Field(description="Replicas that did not confirm in time; they ask again before they let anything in."),
    ]
    milliseconds: Annotated[float, Field(description="Until all had confirmed or the time was over.")]

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
    cut_off: CutOffBody


class TokenBody(Body):
    endpoint_token_id: str
    application_name: str
    status: Status
    created_date: Timestamp
    update_date: Timestamp | None = None

    @classmethod
    def of(cls, token: Token) -> Self:
        return cls(**_fields(token))


class ChangedTokenBody(TokenBody):
    cut_off: Annotated[CutOffBody | None, Field(description="When the token is suspended or revoked.")] = None

    @classmethod
    def with_receipt(cls, token: Token, receipt: Receipt | None) -> Self:
        return cls(**_fields(token), cut_off=None if receipt is None else CutOffBody.of(receipt))


class ProvisionedTokenBody(TokenBody):
    """The only answer that ever has the value of the token."""

    token: str

    @classmethod
    def with_value(cls, token: Token, value: str) -> Self:
        return cls(**_fields(token), token=value)


class TokensBody(Body):
    content: list[TokenBody]
    total_elements: int


def _fields(token: Token) -> dict[str, Any]:  # Any: keyword arguments
    fields = {
        "endpoint_token_id": token.id,
        "application_name": token.app_name,
        "status": str(token.status),
        "created_date": iso_timestamp(token.created_ms),
    }
    if token.updated_ms is not None:
        fields["update_date"] = iso_timestamp(token.updated_ms)
    return fields
