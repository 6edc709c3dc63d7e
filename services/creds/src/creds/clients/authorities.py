"""The certificate authorities: that of the installation, and one of each tenant, made when it is first needed.

The installation's authority is made on the first start, or brought along. All are kept with their private keys sealed
(`sealing`). Of replicas that make one at the same time the first to insert it wins, and all use that. When another
installation's authority is brought along later, tenants get new ones below it; the older ones stay listed, as
certificates below them are in use. A start seals every key anew that an older secret has sealed.
"""

import logging
from datetime import datetime

from cachetools import LRUCache
from cryptography.x509 import Certificate

from creds.clients import pki
from creds.clients.documents import AUTHORITIES, OF_TENANT
from creds.clients.pki import Authority
from creds.clients.sealing import Seal, SealBroken
from creds.clients.workers import Workers
from kaa_common.clock import now_ms
from kaa_common.errors import StartError
from kaa_common.store import MAX_PAGE, Document, DocumentStore, DuplicateKey

logger = logging.getLogger(__name__)

INSTANCE = "instance"
MAX_TENANTS = 1000
"""Authorities kept opened; more tenants are served by opening theirs again."""


class Authorities:
    """`start` before use."""

    def __init__(self, store: DocumentStore, seal: Seal, workers: Workers, brought: Authority | None) -> None:
        self._store = store
        self._seal = seal
        self._workers = workers
        self._brought = brought
        self._instance: Authority | None = None
        self._tenants: LRUCache[str, Authority] = LRUCache(MAX_TENANTS)

    async def start(self) -> None:
        """Load or make the authority of the installation. Raises StartError when its key cannot be opened."""
        await self._seal_all_anew()
        try:
            if self._brought is None:
                self._instance = await self._opened(INSTANCE) or await self._made(INSTANCE, None)
            else:
                # Without its key: it is listed when another has taken its place.
                await self._insert(f"{INSTANCE}:{self._brought.fingerprint}", None, self._brought.certificate, None)
                self._instance = self._brought
        except SealBroken as exc:
            raise StartError(
                f"the private key of the certificate authority cannot be opened: {exc}; CREDS_TOKEN_KEYS must have it"
            ) from exc

    async def of_tenant(self, tenant_id: str) -> Authority:
        """The authority that issues the tenant's certificates."""
        authority = self._tenants.get(tenant_id)
        if authority is None:
            authority_id = f"tenant:{tenant_id}:{self._issuer.fingerprint}"
            authority = await self._opened(authority_id) or await self._made(authority_id, tenant_id)
            self._tenants[tenant_id] = authority
        return authority

    async def certificates(self, tenant_id: str) -> str:
        """The certificates (PEM) of the installation's and the tenant's authorities, also of earlier ones."""
        documents = [
            document
            for owner in (None, tenant_id)
            for document in await self._store.page(AUTHORITIES, OF_TENANT, equals=(owner,), limit=MAX_PAGE)
        ]
        return "".join(document["certificate"] for document in documents)

    @property
    def _issuer(self) -> Authority:
        assert self._instance is not None, "not started"
        return self._instance

    async def _opened(self, authority_id: str) -> Authority | None:
        document = (await self._store.get(AUTHORITIES, [authority_id])).get(authority_id)
        if document is None:
            return None
        key = self._seal.open(document["sealedKey"], authority_id)
        return pki.read_authority(document["certificate"], key)

    async def _seal_all_anew(self) -> None:
        """So that the older secrets can be taken away."""
        last: Document | None = None
        while page := await self._store.page(AUTHORITIES, OF_TENANT, after=last, limit=MAX_PAGE):
            for document in page:
                if "sealedKey" in document and not self._seal.is_current(document["sealedKey"]):
                    await self._seal_anew(document)
            last = page[-1]

    async def _seal_anew(self, document: Document) -> None:
        authority_id, revision = document["_id"], document["revision"]
        try:
            key = self._seal.open(document["sealedKey"], authority_id)
        except SealBroken as exc:
            logger.error("the private key of the certificate authority %s cannot be opened: %s", authority_id, exc)
            return
        sealed = self._seal.close(key, authority_id)
        await self._store.replace(AUTHORITIES, {**document, "sealedKey": sealed, "revision": revision + 1}, revision)

    async def _made(self, authority_id: str, tenant_id: str | None) -> Authority:
        now = pki.utc(now_ms())
        made = await self._workers.run(self._make, tenant_id, now)
        sealed = self._seal.close(pki.private_key_der(made.private_key), authority_id)
        if await self._insert(authority_id, tenant_id, made.certificate, sealed):
            return made
        winner = await self._opened(authority_id)
        assert winner is not None, "authorities are not deleted"
        return winner

    def _make(self, tenant_id: str | None, now: datetime) -> Authority:
        if tenant_id is None:
            return pki.new_instance_authority(now)
        return pki.new_tenant_authority(self._issuer, tenant_id, now)

    async def _insert(
        self, authority_id: str, tenant_id: str | None, certificate: Certificate, sealed: str | None
    ) -> bool:
        document = {
            "_id": authority_id,
            "revision": 1,
            "tenantId": tenant_id,
            "createdDate": now_ms(),
            "certificate": pki.certificate_pem(certificate),
            **({} if sealed is None else {"sealedKey": sealed}),
        }
        try:
            await self._store.insert(AUTHORITIES, document)
        except DuplicateKey:
            return False
        return True
