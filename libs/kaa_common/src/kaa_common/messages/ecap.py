"""16/ECAP, Endpoint and Client Authentication Protocol."""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint, Event

_NAMESPACE = "org.kaaproject.ipc.ecap.gen.v1"


@record(_NAMESPACE)
class EndpointTokenValidationRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_name: str
    token: str


@record(_NAMESPACE)
class EndpointTokenValidationResponse:
    """Status codes: 200; 404 unknown; 403 suspended or revoked, `reason_phrase` saying which; 400 malformed."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    token_id: str | None
    endpoint_id: str | None
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointTokenStatusTransitionRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_name: str
    token: str
    target_status: str


@record(_NAMESPACE)
class EndpointTokenStatusTransitionResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class ClientUsernamePasswordValidationRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    username: str | None
    password: str | None


@record(_NAMESPACE)
class ClientUsernamePasswordValidationResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    credential_id: str | None
    client_id: str | None
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class ClientCertificateValidationRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    issuer: str
    serial_number: str
    """Base 10."""


@record(_NAMESPACE)
class ClientCertificateValidationResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    credential_id: str | None
    client_id: str | None
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointTokenRevokedEvent:
    """The tokens must not be used from now on: they were suspended, revoked or deleted."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_name: str
    endpoint_id: str
    token_ids: tuple[str, ...]
    originator_replica_id: str


@record(_NAMESPACE)
class ClientCredentialRevokedEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    credential_id: str
    originator_replica_id: str


VALIDATE_TOKEN = Endpoint(
    protocol="ecap",
    request_type="ep-token-request",
    response_type="ep-token-response",
    request=EndpointTokenValidationRequest,
    response=EndpointTokenValidationResponse,
    owner="creds",
)
TRANSITION_TOKEN_STATUS = Endpoint(
    protocol="ecap",
    request_type="ep-token-status-transition-request",
    response_type="ep-token-status-transition-response",
    request=EndpointTokenStatusTransitionRequest,
    response=EndpointTokenStatusTransitionResponse,
    owner="creds",
)
VALIDATE_USERNAME_PASSWORD = Endpoint(
    protocol="ecap",
    request_type="client-username-password-request",
    response_type="client-username-password-response",
    request=ClientUsernamePasswordValidationRequest,
    response=ClientUsernamePasswordValidationResponse,
    owner="creds",
)
VALIDATE_CERTIFICATE = Endpoint(
    protocol="ecap",
    request_type="client-certificate-request",
    response_type="client-certificate-response",
    request=ClientCertificateValidationRequest,
    response=ClientCertificateValidationResponse,
    owner="creds",
)
TOKEN_REVOKED = Event(path=("endpoint", "token", "revoked"), record=EndpointTokenRevokedEvent, owner="creds")
CLIENT_CREDENTIAL_REVOKED = Event(
    path=("client", "credential", "revoked"), record=ClientCredentialRevokedEvent, owner="creds"
)

ENDPOINTS = (VALIDATE_TOKEN, TRANSITION_TOKEN_STATUS, VALIDATE_USERNAME_PASSWORD, VALIDATE_CERTIFICATE)
EVENTS = (TOKEN_REVOKED, CLIENT_CREDENTIAL_REVOKED)
