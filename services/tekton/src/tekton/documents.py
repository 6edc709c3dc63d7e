"""Applications as documents: one for each, its versions and their configurations inside, `_id` its name.

The configurations of a tenant are a document of their own, `_id` its id.
"""

from typing import Any

from kaa_common.outbox import PENDING
from kaa_common.store import Collection, Document, Index
from tekton.model import Application, ApplicationVersion, TenantConfiguration

BY_CREATION = Index("by_creation", ("tenantId", "createdDate"))
APPLICATIONS = Collection("applications", (BY_CREATION, PENDING))
TENANTS = Collection("tenants", (PENDING,))

_FIELDS = ("displayName", "description", "createdDate", "updatedDate")


def to_document(application: Application) -> Document:
    return {
        "_id": application.name,
        "revision": application.revision,
        "tenantId": application.tenant_id,
        **_described(application),
        "configurations": dict(application.configurations),
        "versions": {
            name: {**_described(version), "configurations": dict(version.configurations)}
            for name, version in application.versions.items()
        },
    }


def tombstone(document: Document) -> Document:
    """What is left of a deleted application until its events are published; no interface shows it."""
    outbox: Document = {name: document[name] for name in ("outbox", "pending") if name in document}
    return {"_id": document["_id"], "revision": document["revision"] + 1, "deleted": True, **outbox}


def from_document(document: Document) -> Application:
    return Application(
        name=document["_id"],
        revision=document["revision"],
        tenant_id=document["tenantId"],
        configurations=document.get("configurations", {}),  # applications of before have none
        versions={
            name: ApplicationVersion(name=name, configurations=version["configurations"], **_description(version))
            for name, version in document["versions"].items()
        },
        **_description(document),
    )


def tenant_to_document(tenant: TenantConfiguration) -> Document:
    return {"_id": tenant.tenant_id, "revision": tenant.revision, "configurations": dict(tenant.configurations)}


def tenant_from_document(document: Document) -> TenantConfiguration:
    return TenantConfiguration(
        tenant_id=document["_id"], revision=document["revision"], configurations=document["configurations"]
    )


def _described(item: Application | ApplicationVersion) -> dict[str, Any]:  # Any: JSON
    values = (item.display_name, item.description, item.created_ms, item.updated_ms)
    return dict(zip(_FIELDS, values, strict=True))


def _description(document: Document) -> dict[str, Any]:  # Any: as above, for keyword arguments
    names = ("display_name", "description", "created_ms", "updated_ms")
    return {name: document[own] for name, own in zip(names, _FIELDS, strict=True)}
