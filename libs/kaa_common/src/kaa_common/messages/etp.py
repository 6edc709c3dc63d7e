"""Endpoint Token Provisioning, a protocol of our own: the register asks for the token of an endpoint it registers.

No RFC has this message (Kaa's register calls the REST interface of its credentials service).
"""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint

_NAMESPACE = "open.kaa.ipc.etp.v1"


@record(_NAMESPACE)
class EndpointTokenProvisionRequest:
    """Provision a token, generated when `token` is None. Repeating it with the same token changes nothing."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    tenant_id: str
    app_name: str
    endpoint_id: str
    token: None | str = None


@record(_NAMESPACE)
class EndpointTokenProvisionResponse:
    """Status codes: 201; 400 malformed token; 409 the token belongs to another endpoint."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    token_id: None | str = None
    token: None | str = None
    token_status: None | str = None
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointTokensDiscardRequest:
    """Delete every token of an endpoint whose registration failed half-way."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_name: str
    endpoint_id: str


@record(_NAMESPACE)
class EndpointTokensDiscardResponse:
    """Status codes: 200, also when there was none."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    status_code: Int
    reason_phrase: None | str = None


PROVISION_TOKEN = Endpoint(
    protocol="etp",
    request_type="ep-token-provision-request",
    response_type="ep-token-provision-response",
    request=EndpointTokenProvisionRequest,
    response=EndpointTokenProvisionResponse,
    owner="creds",
)
DISCARD_TOKENS = Endpoint(
    protocol="etp",
    request_type="ep-tokens-discard-request",
    response_type="ep-tokens-discard-response",
    request=EndpointTokensDiscardRequest,
    response=EndpointTokensDiscardResponse,
    owner="creds",
)

ENDPOINTS = (PROVISION_TOKEN, DISCARD_TOKENS)
