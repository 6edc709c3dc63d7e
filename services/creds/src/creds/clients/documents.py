"""Client credentials and authorities as documents; what distinguishes the two kinds of credentials, as values.

The revisions of credentials count their changes. When they were used last is kept apart (`last_uses`), since it changes
all the time; authorities are never changed, only sealed anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from creds.clients.model import BasicCredentials, CertificateCredentials, Credentials, State
from kaa_common.messages.cap import (
    BASIC_CREDENTIALS_REVOKED,
    CERTIFICATE_CREDENTIALS_REVOKED,
    ClientCredentialsRevokedEvent,
)
from kaa_common.messages.declared import Event
from kaa_common.outbox import PENDING
from kaa_common.store import Collection, Document, Index

OF_TENANT: Final = Index("of_tenant", ("tenantId", "createdDate"))
BY_USERNAME: Final = Index("by_username", ("tenantId", "username"), unique=True)
BY_SERIAL_NUMBER: Final = Index("by_serial_number", ("issuer", "serialNumber"), unique=True)

BASIC_CREDENTIALS: Final = Collection("basic_credentials", (BY_USERNAME, OF_TENANT, PENDING))
X509_CREDENTIALS: Final = Collection("x509_credentials", (BY_SERIAL_NUMBER, OF_TENANT, PENDING))
LAST_USES: Final = Collection("client_last_uses")
AUTHORITIES: Final = Collection("authorities", (OF_TENANT,))
COLLECTIONS: Final = (BASIC_CREDENTIALS, X509_CREDENTIALS, LAST_USES, AUTHORITIES)

C = TypeVar("C", bound=Credentials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[C]):
    """A kind of credentials."""

    collection: Collection
    unique: str
    """The field that no two have the same value of; a tombstone has one that no credentials can have."""
    revoked: Event[ClientCredentialsRevokedEvent]
    to_document: Callable[[C], Document]
    from_document: Callable[[Document], C]

    def tombstone(self, document: Document) -> Document:
        """What is left of deleted credentials until their event is published: nothing finds them but their id."""
        return {
            "_id": document["_id"],
            "revision": document["revision"] + 1,
            "deleted": True,
            self.unique: f"deleted:{document['_id']}",
            **{name: document[name] for name in ("outbox", "pending") if name in document},
        }


def _basic_to_document(credentials: BasicCredentials) -> Document:
    return {**_to_document(credentials), "username": credentials.username}


def _basic_from_document(document: Document) -> BasicCredentials:
    return BasicCredentials(**_fields(document), username=document["username"])


def _certificate_to_document(credentials: CertificateCredentials) -> Document:
    return {
        **_to_document(credentials),
        "commonName": credentials.common_name,
        "issuer": credentials.issuer,
        "serialNumber": credentials.serial_number,
        "validUntil": credentials.valid_until_ms,
    }


def _certificate_from_document(document: Document) -> CertificateCredentials:
    return CertificateCredentials(
        **_fields(document),
        common_name=document["commonName"],
        issuer=document["issuer"],
        serial_number=document["serialNumber"],
        valid_until_ms=document["validUntil"],
    )


def _to_document(credentials: Credentials) -> Document:
    return {
        "_id": credentials.id,
        "revision": credentials.revision,
        "tenantId": credentials.tenant_id,
        "state": str(credentials.state),
        "createdDate": credentials.created_ms,
        "updatedDate": credentials.updated_ms,
    }


def _fields(document: Document) -> dict[str, Any]:  # Any: keyword arguments
    return {
        "id": document["_id"],
        "revision": document["revision"],
        "tenant_id": document["tenantId"],
        "state": State(document["state"]),
        "created_ms": document["createdDate"],
        "updated_ms": document["updatedDate"],
    }


BASIC: Final = Kind(
    collection=BASIC_CREDENTIALS,
    unique="username",
    revoked=BASIC_CREDENTIALS_REVOKED,
    to_document=_basic_to_document,
    from_document=_basic_from_document,
)
X509: Final = Kind(
    collection=X509_CREDENTIALS,
    unique="serialNumber",
    revoked=CERTIFICATE_CREDENTIALS_REVOKED,
    to_document=_certificate_to_document,
    from_document=_certificate_from_document,
)
