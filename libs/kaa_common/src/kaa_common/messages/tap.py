"""Trust Anchors Protocol, a protocol of our own: whom to trust when a client shows a certificate.

The communication service verifies certificates itself (22/CAP asks for issuer and serial number only), and no RFC says
where it gets the certificates of the authorities from.
"""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint

_NAMESPACE = "open.kaa.ipc.tap.v1"


@record(_NAMESPACE)
class CertificateAuthoritiesRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    tenant_id: str
    """A client shows its chain up to, or with, its tenant's authority; for this tenant it may leave that out."""


@record(_NAMESPACE)
class CertificateAuthoritiesResponse:
    """Status codes: 200; 400 no tenant can have this id."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    certificates: None | str = None
    """PEM: the authorities of the installation and of the tenant, former ones included."""
    status_code: Int
    reason_phrase: None | str = None


GET_CERTIFICATE_AUTHORITIES = Endpoint(
    protocol="tap",
    request_type="certificate-authorities-request",
    response_type="certificate-authorities-response",
    request=CertificateAuthoritiesRequest,
    response=CertificateAuthoritiesResponse,
    owner="creds",
)

ENDPOINTS = (GET_CERTIFICATE_AUTHORITIES,)
