"""Tokens as documents. What is kept of the value is its hash; a deleted token is kept until its event is published."""

from creds.model import Token, TokenStatus
from kaa_common.outbox import PENDING
from kaa_common.store import Collection, Document, Index

BY_VALUE = Index("by_value", ("appName", "hash"), unique=True)
BY_ENDPOINT = Index("by_endpoint", ("endpointId", "createdDate"))
TOKENS = Collection("tokens", (BY_VALUE, BY_ENDPOINT, PENDING))


def to_document(token: Token) -> Document:
    """All but the hash."""
    return {
        "_id": token.id,
        "revision": token.revision,
        "tenantId": token.tenant_id,
        "appName": token.app_name,
        "endpointId": token.endpoint_id,
        "status": str(token.status),
        "createdDate": token.created_ms,
        "updatedDate": token.updated_ms,
    }


def from_document(document: Document) -> Token:
    return Token(
        id=document["_id"],
        revision=document["revision"],
        tenant_id=document["tenantId"],
        app_name=document["appName"],
        endpoint_id=document["endpointId"],
        status=TokenStatus(document["status"]),
        created_ms=document["createdDate"],
        updated_ms=document["updatedDate"],
    )


def tombstone(document: Document) -> Document:
    """What is left of a deleted token: neither its value nor its endpoint finds it, and the value is free again."""
    return {
        "_id": document["_id"],
        "revision": document["revision"] + 1,
        "deleted": True,
        "appName": document["appName"],
        "hash": f"deleted:{document['_id']}",
        **{name: document[name] for name in ("outbox", "pending") if name in document},
    }
