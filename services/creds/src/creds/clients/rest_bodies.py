"""The JSON bodies of the REST interface below `/ccm`."""

from typing import Annotated, Any, Self

from pydantic import Field

from creds.clients.basic import Created
from creds.clients.certificates import DEFAULT_TTL, MAX_TTL, Issued
from creds.clients.model import (
    MAX_PASSWORD_LENGTH,
    MIN_PASSWORD_LENGTH,
    USERNAME,
    BasicCredentials,
    CertificateCredentials,
    Credentials,
    State,
)
from creds.cut_off import Receipt
from creds.rest_bodies import CutOffBody, Timestamp
from kaa_common.clock import iso_timestamp
from kaa_common.rest import Body

MAX_CSR_LENGTH = 16_384
"""Characters: a request with an RSA key of 4096 bits has 1,700."""

PEM_EXAMPLE = "-----BEGIN CERTIFICATE-----\nMIIBtDCC...\n-----END CERTIFICATE-----\n"
CSR_EXAMPLE = "-----BEGIN CERTIFICATE REQUEST-----\nMIHTMHsC...\n-----END CERTIFICATE REQUEST-----\n"
KEY_EXAMPLE = "-----BEGIN PRIVATE KEY-----\nMIGHAgEA...\n-----END PRIVATE KEY-----\n"
Id = Annotated[str, Field(examples=["0b9c4a3e-7d0f-4a51-9b52-8f3f6c1f0d27"])]
StateName = Annotated[State, Field(examples=["Active"])]
Username = Annotated[str, Field(examples=["cover-antelope"])]
CommonName = Annotated[str, Field(examples=["disheartened-delicacy"])]
CutOffOfChange = Annotated[CutOffBody | None, Field(description="When the credentials are suspended or revoked.")]


class NewBasicCredentialsBody(Body):
    """Basic credentials to create."""

    username: Annotated[
        str | None,
        Field(description="Two random words when it is missing.", pattern=USERNAME, examples=["cover-antelope"]),
    ] = None
    password: Annotated[
        str | None,
        Field(
            description="Generated when it is missing.",
            min_length=MIN_PASSWORD_LENGTH,
            max_length=MAX_PASSWORD_LENGTH,
            examples=["vV4hqvTnGyCYgLyAiAXC"],
        ),
    ] = None


class NewX509CredentialsBody(Body):
    """A certificate to issue."""

    common_name: Annotated[
        str | None,
        Field(
            description="When it is missing, that of the signing request, or two random words.",
            pattern=r"^[A-Za-z0-9.-]{1,64}$",
            examples=["disheartened-delicacy"],
        ),
    ] = None
    ttl: Annotated[
        int | None,
        Field(
            description="Seconds until the certificate expires. When it is missing, a year, or what is left of the "
            "authority's time if that is less.",
            ge=1,
            le=MAX_TTL,
            examples=[DEFAULT_TTL],
        ),
    ] = None
    csr: Annotated[
        str | None,
        Field(
            description="Signing request (PKCS #10, PEM) of a client that keeps its private key to itself. "
            "When it is missing, a key is made.",
            max_length=MAX_CSR_LENGTH,
            examples=[CSR_EXAMPLE],
        ),
    ] = None


class CredentialsBody(Body):
    id: Id
    tenant_id: Annotated[
        str, Field(description="Whose they are; clients connect as `<username>@<tenantId>`.", examples=["default"])
    ]
    state: StateName
    created_date: Timestamp
    updated_date: Timestamp
    last_use_date: Annotated[Timestamp | None, Field(description="At most a minute late.")] = None


class BasicCredentialsBody(CredentialsBody):
    """Basic credentials, without the password."""

    username: Username

    @classmethod
    def of(cls, credentials: BasicCredentials, last_use: int | None, **more: Any) -> Self:
        return cls(**_fields(credentials, last_use), username=credentials.username, **more)


class CreatedBasicCredentialsBody(BasicCredentialsBody):
    """The only answer that ever has the password."""

    password: Annotated[str, Field(examples=["vV4hqvTnGyCYgLyAiAXC"])]

    @classmethod
    def of_created(cls, created: Created) -> Self:
        return cls.of(created.credentials, None, password=created.password)


class ChangedBasicCredentialsBody(BasicCredentialsBody):
    """Basic credentials whose state was changed."""

    cut_off: CutOffOfChange = None


class X509CredentialsBody(CredentialsBody):
    """X.509 credentials, without the certificate and its private key."""

    common_name: CommonName
    serial_number: Annotated[
        str, Field(description="Base 10.", examples=["481322841591230125307308739340986366174349561025"])
    ]
    issuer: Annotated[str, Field(examples=["CN=default"])]
    valid_until: Timestamp

    @classmethod
    def of(cls, credentials: CertificateCredentials, last_use: int | None, **more: Any) -> Self:
        return cls(
            **_fields(credentials, last_use),
            common_name=credentials.common_name,
            serial_number=credentials.serial_number,
            issuer=f"CN={credentials.issuer}",
            valid_until=iso_timestamp(credentials.valid_until_ms),
            **more,
        )


class IssuedX509CredentialsBody(X509CredentialsBody):
    """The only answer that ever has the certificate and its private key."""

    certificate_chain: Annotated[
        str,
        Field(
            description="PEM: the client's certificate, then that of the tenant's authority.", examples=[PEM_EXAMPLE]
        ),
    ]
    private_key: Annotated[
        str | None, Field(description="PEM, PKCS #8; not when a signing request was sent.", examples=[KEY_EXAMPLE])
    ] = None

    @classmethod
    def of_issued(cls, issued: Issued) -> Self:
        return cls.of(issued.credentials, None, certificate_chain=issued.chain, private_key=issued.private_key)


class ChangedX509CredentialsBody(X509CredentialsBody):
    """X.509 credentials whose state was changed."""

    cut_off: CutOffOfChange = None


def cut_off_of(receipt: Receipt | None) -> CutOffBody | None:
    return None if receipt is None else CutOffBody.of(receipt)


def _fields(credentials: Credentials, last_use: int | None) -> dict[str, Any]:  # Any: keyword arguments
    fields = {
        "id": credentials.id,
        "tenant_id": credentials.tenant_id,
        "state": credentials.state,
        "created_date": iso_timestamp(credentials.created_ms),
        "updated_date": iso_timestamp(credentials.updated_ms),
    }
    if last_use is not None:
        fields["last_use_date"] = iso_timestamp(last_use)
    return fields
