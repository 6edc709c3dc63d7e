"""The REST interface below `/ccm/api/v1`: requests become calls of the use cases, their results answers."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response

from creds.clients.app import Clients
from creds.clients.lifecycle import Lifecycle
from creds.clients.model import Credentials, State
from creds.clients.rest_bodies import (
    PEM_EXAMPLE,
    BasicCredentialsBody,
    ChangedBasicCredentialsBody,
    ChangedX509CredentialsBody,
    CreatedBasicCredentialsBody,
    IssuedX509CredentialsBody,
    NewBasicCredentialsBody,
    NewX509CredentialsBody,
    X509CredentialsBody,
    cut_off_of,
)
from creds.cut_off import CutOff, Receipt
from creds.model import REFUSED
from creds.rest_bodies import CutOffBody, StatusBody, WithdrawnBody
from creds.rest_routes import (
    CHANGE,
    CREATE,
    DELETE,
    LIST,
    READ,
    IfMatch,
    IfNoneMatch,
    Kind,
    Route,
    router_of,
    show_once,
)
from kaa_common.rest import MAX_LIMIT, Offset, check_if_match, etag_of, is_unchanged

CredentialsId = Annotated[
    str, Path(alias="id", description="Id of credentials.", examples=["0b9c4a3e-7d0f-4a51-9b52-8f3f6c1f0d27"])
]
ListLimit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items of the list; a Link header leads to the next.")]
BASIC, X509 = "tenant:basic-credentials", "tenant:x509-credentials"
"""What the scopes are for; after a colon follows `create`, `read` or `update`, which includes to delete."""
PEM = "application/x-pem-file"
DOWNLOAD = Kind(method="GET", answers={200: {"content": {PEM: {"schema": {"type": "string"}, "example": PEM_EXAMPLE}}}})

C = TypeVar("C", bound=Credentials)


class ClientsRestApi:
    """The handlers of the routes, bound to the use cases."""

    def __init__(self, clients: Clients, cut_off: CutOff, tenant_id: str) -> None:
        self._basic = clients.basic
        self._certificates = clients.certificates
        self._cut_off = cut_off
        self._tenant_id = tenant_id

    def router(self) -> APIRouter:
        basic, x509 = "/basic-credentials", "/x509-credentials"
        one_basic, one_x509 = f"{basic}/{{id}}", f"{x509}/{{id}}"
        return router_of(
            Route(LIST, basic, f"{BASIC}:read", self.list_basic_credentials, list[BasicCredentialsBody]),
            Route(
                CREATE.failing(409),
                basic,
                f"{BASIC}:create",
                self.create_basic_credentials,
                CreatedBasicCredentialsBody,
            ),
            Route(READ, one_basic, f"{BASIC}:read", self.get_basic_credentials, BasicCredentialsBody),
            Route(
                CHANGE,
                f"{one_basic}/status",
                f"{BASIC}:update",
                self.change_basic_credentials,
                ChangedBasicCredentialsBody,
            ),
            Route(DELETE, one_basic, f"{BASIC}:update", self.delete_basic_credentials, WithdrawnBody),
            Route(LIST, x509, f"{X509}:read", self.list_x509_credentials, list[X509CredentialsBody]),
            Route(CREATE, x509, f"{X509}:create", self.issue_x509_credentials, IssuedX509CredentialsBody),
            Route(READ, one_x509, f"{X509}:read", self.get_x509_credentials, X509CredentialsBody),
            Route(
                CHANGE,
                f"{one_x509}/status",
                f"{X509}:update",
                self.change_x509_credentials,
                ChangedX509CredentialsBody,
            ),
            Route(DELETE, one_x509, f"{X509}:update", self.delete_x509_credentials, WithdrawnBody),
            Route(DOWNLOAD, "/ca-certificates", f"{X509}:read", self.get_ca_certificates, None),
        )

    async def list_basic_credentials(
        self, request: Request, response: Response, offset: Offset = 0, limit: ListLimit = MAX_LIMIT
    ) -> list[BasicCredentialsBody]:
        """Basic credentials in the order of creation."""
        page = await self._page(self._basic.lifecycle, request, response, offset, limit)
        return [BasicCredentialsBody.of(credentials, last_use) for credentials, last_use in page]

    async def create_basic_credentials(
        self, body: NewBasicCredentialsBody, request: Request, response: Response
    ) -> CreatedBasicCredentialsBody:
        """Create basic credentials. The password is in this answer and in no other.

        A client connects with `<username>@<tenant id>` and the password.
        """
        created = await self._basic.create(self._tenant_id, body.username, body.password)
        show_once(request, response, created.credentials.id, created.credentials.revision)
        return CreatedBasicCredentialsBody.of_created(created)

    async def get_basic_credentials(
        self, credentials_id: CredentialsId, response: Response, if_none_match: IfNoneMatch = None
    ) -> BasicCredentialsBody | Response:
        """Show basic credentials; the password is not kept."""
        credentials, last_use = await self._shown(self._basic.lifecycle, credentials_id)
        if is_unchanged(if_none_match, credentials.revision):
            return _unchanged(credentials)
        response.headers["ETag"] = etag_of(credentials.revision)
        return BasicCredentialsBody.of(credentials, last_use)

    async def change_basic_credentials(
        self, credentials_id: CredentialsId, body: StatusBody, response: Response, if_match: IfMatch = None
    ) -> ChangedBasicCredentialsBody:
        """Suspend, revoke or activate basic credentials.

        Suspended or revoked ones are cut off: the answer comes when every communication replica has confirmed that, or
        after a second, and says which did. A change that may not follow the current state is a 409.
        """
        lifecycle = self._basic.lifecycle
        credentials, receipt = await self._changed(lifecycle, credentials_id, body.status, if_match, response)
        last_use = (await lifecycle.last_uses([credentials])).get(credentials_id)
        return ChangedBasicCredentialsBody.of(credentials, last_use, cut_off=cut_off_of(receipt))

    async def delete_basic_credentials(self, credentials_id: CredentialsId, if_match: IfMatch = None) -> WithdrawnBody:
        """Delete basic credentials, which cuts them off as a revocation does."""
        return await self._deleted(self._basic.lifecycle, credentials_id, if_match)

    async def list_x509_credentials(
        self, request: Request, response: Response, offset: Offset = 0, limit: ListLimit = MAX_LIMIT
    ) -> list[X509CredentialsBody]:
        """X.509 credentials in the order of creation."""
        page = await self._page(self._certificates.lifecycle, request, response, offset, limit)
        return [X509CredentialsBody.of(credentials, last_use) for credentials, last_use in page]

    async def issue_x509_credentials(
        self, body: NewX509CredentialsBody, request: Request, response: Response
    ) -> IssuedX509CredentialsBody:
        """Issue a certificate, with a key pair (EC P-256) or for the key of a signing request.

        The chain and the private key are in this answer and in no other.
        """
        if body.csr is None:
            issued = await self._certificates.issue(self._tenant_id, body.common_name, body.ttl)
        else:
            issued = await self._certificates.sign(self._tenant_id, body.csr, body.common_name, body.ttl)
        show_once(request, response, issued.credentials.id, issued.credentials.revision)
        return IssuedX509CredentialsBody.of_issued(issued)

    async def get_x509_credentials(
        self, credentials_id: CredentialsId, response: Response, if_none_match: IfNoneMatch = None
    ) -> X509CredentialsBody | Response:
        """Show X.509 credentials; the certificate and its private key are not kept."""
        credentials, last_use = await self._shown(self._certificates.lifecycle, credentials_id)
        if is_unchanged(if_none_match, credentials.revision):
            return _unchanged(credentials)
        response.headers["ETag"] = etag_of(credentials.revision)
        return X509CredentialsBody.of(credentials, last_use)

    async def change_x509_credentials(
        self, credentials_id: CredentialsId, body: StatusBody, response: Response, if_match: IfMatch = None
    ) -> ChangedX509CredentialsBody:
        """Suspend, revoke or activate X.509 credentials.

        Suspended or revoked ones are cut off: the answer comes when every communication replica has confirmed that, or
        after a second, and says which did. A change that may not follow the current state is a 409.
        """
        lifecycle = self._certificates.lifecycle
        credentials, receipt = await self._changed(lifecycle, credentials_id, body.status, if_match, response)
        last_use = (await lifecycle.last_uses([credentials])).get(credentials_id)
        return ChangedX509CredentialsBody.of(credentials, last_use, cut_off=cut_off_of(receipt))

    async def delete_x509_credentials(self, credentials_id: CredentialsId, if_match: IfMatch = None) -> WithdrawnBody:
        """Delete X.509 credentials, which cuts them off as a revocation does."""
        return await self._deleted(self._certificates.lifecycle, credentials_id, if_match)

    async def get_ca_certificates(self) -> Response:
        """Download the certificates of the authorities (PEM): what verifies the chain of a client's certificate."""
        pem = await self._certificates.authorities_of(self._tenant_id)
        return Response(pem, media_type=PEM, headers={"Content-Disposition": 'attachment; filename="ca.pem"'})

    async def _page(
        self, lifecycle: Lifecycle[C], request: Request, response: Response, offset: int, limit: int
    ) -> Sequence[tuple[C, int | None]]:
        found = await lifecycle.page(self._tenant_id, offset, limit + 1)
        if len(found) > limit:
            following = request.url.include_query_params(offset=offset + limit, limit=limit)
            response.headers["Link"] = f'<{following}>; rel="next"'
        last_uses = await lifecycle.last_uses(found[:limit])
        return [(credentials, last_uses.get(credentials.id)) for credentials in found[:limit]]

    async def _shown(self, lifecycle: Lifecycle[C], credentials_id: str) -> tuple[C, int | None]:
        credentials = await lifecycle.get(self._tenant_id, credentials_id)
        return credentials, (await lifecycle.last_uses([credentials])).get(credentials_id)

    async def _changed(
        self, lifecycle: Lifecycle[C], credentials_id: str, target: State, if_match: str | None, response: Response
    ) -> tuple[C, Receipt | None]:
        credentials = await lifecycle.move(self._tenant_id, credentials_id, target, partial(check_if_match, if_match))
        response.headers["ETag"] = etag_of(credentials.revision)
        return credentials, await self._cut_off.of_credentials(credentials_id) if target in REFUSED else None

    async def _deleted(self, lifecycle: Lifecycle[C], credentials_id: str, if_match: str | None) -> WithdrawnBody:
        await lifecycle.delete(self._tenant_id, credentials_id, partial(check_if_match, if_match))
        return WithdrawnBody(cut_off=CutOffBody.of(await self._cut_off.of_credentials(credentials_id)))


def _unchanged(credentials: Credentials) -> Response:
    return Response(status_code=304, headers={"ETag": etag_of(credentials.revision)})
