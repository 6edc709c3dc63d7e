"""22/CAP, Client Authentication Protocol."""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint, Event

_NAMESPACE = "org.kaaproject.ipc.cap.gen.v1"


@record(_NAMESPACE)
class ClientBasicAuthenticationRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    tenant_id: str
    username: str
    password: str


@record(_NAMESPACE)
class ClientBasicAuthenticationResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    credentials_id: str | None
    client_id: str | None
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class ClientCertificateAuthenticationRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    issuer: str
    serial_number: str
    """Base 10."""


@record(_NAMESPACE)
class ClientCertificateAuthenticationResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    tenant_id: str | None
    credentials_id: str | None
    client_id: str | None
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class ClientCredentialsRevokedEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    tenant_id: str
    credentials_id: str
    originator_replica_id: str


AUTHENTICATE_BASIC = Endpoint(
    protocol="cap",
    request_type="basic-request",
    response_type="basic-response",
    request=ClientBasicAuthenticationRequest,
    response=ClientBasicAuthenticationResponse,
    owner="creds",
)
AUTHENTICATE_CERTIFICATE = Endpoint(
    protocol="cap",
    request_type="certificate-request",
    response_type="certificate-response",
    request=ClientCertificateAuthenticationRequest,
    response=ClientCertificateAuthenticationResponse,
    owner="creds",
)
BASIC_CREDENTIALS_REVOKED = Event(
    path=("client-credentials", "basic", "revoked"), record=ClientCredentialsRevokedEvent, owner="creds"
)
CERTIFICATE_CREDENTIALS_REVOKED = Event(
    path=("client-credentials", "certificate", "revoked"), record=ClientCredentialsRevokedEvent, owner="creds"
)

ENDPOINTS = (AUTHENTICATE_BASIC, AUTHENTICATE_CERTIFICATE)
EVENTS = (BASIC_CREDENTIALS_REVOKED, CERTIFICATE_CREDENTIALS_REVOKED)
