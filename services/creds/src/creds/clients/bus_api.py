"""The bus interface: 22/CAP, and the part of 16/ECAP that asks the same in the words of Kaa 1.1.

Besides, what the communication service needs to know: the authorities (TAP), and what is still usable (COP).
"""

from collections.abc import Awaitable
from typing import TypeVar

from prometheus_client import Counter

from creds.clients.app import Clients
from creds.clients.model import checked_tenant_id, split_username
from kaa_common.errors import BadRequest, status_of
from kaa_common.messages.cap import (
    AUTHENTICATE_BASIC,
    AUTHENTICATE_CERTIFICATE,
    ClientBasicAuthenticationRequest,
    ClientBasicAuthenticationResponse,
    ClientCertificateAuthenticationRequest,
    ClientCertificateAuthenticationResponse,
)
from kaa_common.messages.cop import (
    ASK_USABLE_CREDENTIALS,
    UsableCredentialsRequest,
    UsableCredentialsResponse,
)
from kaa_common.messages.ecap import (
    VALIDATE_CERTIFICATE,
    VALIDATE_USERNAME_PASSWORD,
    ClientCertificateValidationRequest,
    ClientCertificateValidationResponse,
    ClientUsernamePasswordValidationRequest,
    ClientUsernamePasswordValidationResponse,
)
from kaa_common.messages.tap import (
    GET_CERTIFICATE_AUTHORITIES,
    CertificateAuthoritiesRequest,
    CertificateAuthoritiesResponse,
)
from kaa_common.rpc import Reply, Rpc, answer_header

ATTEMPTS = Counter(
    "creds_client_authentications", "Authentications of clients, by kind of credentials and status", ["kind", "status"]
)

T = TypeVar("T")


class ClientsBusApi:
    """The handlers of the messages, bound to the use cases. No credentials here belong to a client with an id."""

    def __init__(self, clients: Clients) -> None:
        self._basic = clients.basic
        self._certificates = clients.certificates

    async def serve(self, rpc: Rpc, ccm_instance: str, cm_instance: str) -> None:
        """Answer 22/CAP and the like under the one instance name, 16/ECAP under the other."""
        await rpc.serve(AUTHENTICATE_BASIC, ccm_instance, self.authenticate_basic)
        await rpc.serve(AUTHENTICATE_CERTIFICATE, ccm_instance, self.authenticate_certificate)
        await rpc.serve(ASK_USABLE_CREDENTIALS, ccm_instance, self.usable)
        await rpc.serve(GET_CERTIFICATE_AUTHORITIES, ccm_instance, self.certificate_authorities)
        await rpc.serve(VALIDATE_USERNAME_PASSWORD, cm_instance, self.validate_username_password)
        await rpc.serve(VALIDATE_CERTIFICATE, cm_instance, self.validate_certificate)

    async def authenticate_basic(
        self, request: ClientBasicAuthenticationRequest
    ) -> Reply[ClientBasicAuthenticationResponse]:
        credentials = await _counted(
            "basic", self._basic.authenticate(request.tenant_id, request.username, request.password)
        )
        return Reply(
            ClientBasicAuthenticationResponse(
                **answer_header(request), credentials_id=credentials.id, client_id=None, status_code=200
            )
        )

    async def authenticate_certificate(
        self, request: ClientCertificateAuthenticationRequest
    ) -> Reply[ClientCertificateAuthenticationResponse]:
        credentials = await _counted("x509", self._certificates.authenticate(request.issuer, request.serial_number))
        return Reply(
            ClientCertificateAuthenticationResponse(
                **answer_header(request),
                tenant_id=credentials.tenant_id,
                credentials_id=credentials.id,
                client_id=None,
                status_code=200,
            )
        )

    async def usable(self, request: UsableCredentialsRequest) -> Reply[UsableCredentialsResponse]:
        basic = await self._basic.lifecycle.usable(request.credentials_ids)
        x509 = await self._certificates.lifecycle.usable(request.credentials_ids)
        return Reply(
            UsableCredentialsResponse(**answer_header(request), credentials_ids=(*basic, *x509), status_code=200)
        )

    async def certificate_authorities(
        self, request: CertificateAuthoritiesRequest
    ) -> Reply[CertificateAuthoritiesResponse]:
        certificates = await self._certificates.authorities_of(checked_tenant_id(request.tenant_id))
        return Reply(
            CertificateAuthoritiesResponse(**answer_header(request), certificates=certificates, status_code=200)
        )

    async def validate_username_password(
        self, request: ClientUsernamePasswordValidationRequest
    ) -> Reply[ClientUsernamePasswordValidationResponse]:
        if request.username is None or request.password is None:
            raise BadRequest("username and password: both are needed")
        username, tenant_id = split_username(request.username)
        credentials = await _counted("basic", self._basic.authenticate(tenant_id, username, request.password))
        return Reply(
            ClientUsernamePasswordValidationResponse(
                **answer_header(request), credential_id=credentials.id, client_id=None, status_code=200
            )
        )

    async def validate_certificate(
        self, request: ClientCertificateValidationRequest
    ) -> Reply[ClientCertificateValidationResponse]:
        credentials = await _counted("x509", self._certificates.authenticate(request.issuer, request.serial_number))
        return Reply(
            ClientCertificateValidationResponse(
                **answer_header(request), credential_id=credentials.id, client_id=None, status_code=200
            )
        )


async def _counted(kind: str, attempt: Awaitable[T]) -> T:
    status_code = 200
    try:
        return await attempt
    except Exception as exc:
        status_code = status_of(exc)[0]
        raise
    finally:
        ATTEMPTS.labels(kind, str(status_code)).inc()
