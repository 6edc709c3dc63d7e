"""What can be done with X.509 credentials: issuing certificates, and finding out whether one may still be used.

Whether a certificate is genuine and in date is checked by whom it is shown to; here its issuer and its serial number
are looked up. A private key made here is shown once and not kept; a client that sends a signing request keeps its own.
"""

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography.x509 import Certificate

from creds.clients import pki
from creds.clients.authorities import Authorities
from creds.clients.documents import BY_SERIAL_NUMBER
from creds.clients.lifecycle import Lifecycle
from creds.clients.model import CertificateCredentials, checked_common_name, issuer_named, serial_number_of
from creds.clients.names import generate_name
from creds.clients.pki import Authority
from creds.clients.workers import Workers
from kaa_common.clock import now_ms
from kaa_common.errors import Forbidden, NotFound

DEFAULT_TTL: Final = 365 * 24 * 3600
MAX_TTL: Final = 3650 * 24 * 3600
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    credentials: CertificateCredentials
    chain: str
    """PEM: the client's certificate, then that of the tenant's authority."""
    private_key: str | None = field(repr=False)
    """PEM; none when the client made its own."""


class CertificateClients:
    """The X.509 credentials of the platform."""

    def __init__(
        self, lifecycle: Lifecycle[CertificateCredentials], authorities: Authorities, workers: Workers
    ) -> None:
        self.lifecycle = lifecycle
        self._authorities = authorities
        self._workers = workers

    async def issue(self, tenant_id: str, common_name: str | None, ttl: int | None) -> Issued:
        """A certificate and its private key. Raises BadRequest, Unavailable when too many are being made."""
        name = _checked_or_generated(common_name)
        authority = await self._authorities.of_tenant(tenant_id)

        def make() -> tuple[Certificate, str]:
            key = pki.new_key()
            certificate = pki.client_certificate(authority, name, key.public_key(), *_validity(authority, ttl))
            return certificate, pki.private_key_pem(key)

        certificate, private_key = await self._workers.run(make)
        return await self._insert(tenant_id, authority, name, certificate, private_key)

    async def sign(self, tenant_id: str, csr: str, common_name: str | None, ttl: int | None) -> Issued:
        """A certificate for the public key of a signing request, from which only that and the common name are taken.

        Raises BadRequest, Unavailable when too many are being made.
        """
        authority = await self._authorities.of_tenant(tenant_id)

        def make() -> tuple[Certificate, str]:
            request = pki.read_signing_request(csr)
            key = pki.client_key_of(request)
            name = _checked_or_generated(common_name or pki.common_name_in(request.subject))
            return pki.client_certificate(authority, name, key, *_validity(authority, ttl)), name

        certificate, name = await self._workers.run(make)
        return await self._insert(tenant_id, authority, name, certificate, None)

    async def authenticate(self, issuer: str, serial_number: str) -> CertificateCredentials:
        """The credentials whose certificate has this issuer and serial number, Active from their first use on.

        Raises BadRequest for malformed ones, NotFound, Forbidden when they are suspended, revoked or expired.
        """
        values = issuer_named(issuer), serial_number_of(serial_number)
        found = await self.lifecycle.find(BY_SERIAL_NUMBER, *values)
        if found is None:
            raise NotFound("unknown certificate")
        if found["validUntil"] <= now_ms():
            raise Forbidden("the certificate has expired")
        return await self.lifecycle.use(found["tenantId"], found["_id"])

    async def authorities_of(self, tenant_id: str) -> str:
        """The certificates (PEM) of the authorities that those of the tenant's clients are issued under."""
        await self._authorities.of_tenant(tenant_id)
        return await self._authorities.certificates(tenant_id)

    async def _insert(
        self, tenant_id: str, authority: Authority, name: str, certificate: Certificate, private_key: str | None
    ) -> Issued:
        now = now_ms()
        credentials = CertificateCredentials(
            id=str(uuid.uuid4()),
            tenant_id=tenant_id,
            created_ms=now,
            updated_ms=now,
            common_name=name,
            issuer=tenant_id,
            serial_number=str(certificate.serial_number),
            valid_until_ms=pki.unix_ms(certificate.not_valid_after_utc),
        )
        is_new = await self.lifecycle.insert(credentials)
        assert is_new, "two random numbers of 159 bits were the same"
        chain = pki.certificate_pem(certificate) + pki.certificate_pem(authority.certificate)
        return Issued(credentials=credentials, chain=chain, private_key=private_key)


def _checked_or_generated(common_name: str | None) -> str:
    return generate_name(secrets.choice) if common_name is None else checked_common_name(common_name)


def _validity(authority: Authority, ttl: int | None) -> tuple[datetime, timedelta]:
    """From when, and how long; by default DEFAULT_TTL or what is left of the authority's time."""
    now = pki.utc(now_ms())
    if ttl is None:
        return now, min(timedelta(seconds=DEFAULT_TTL), authority.ends - now)
    return now, timedelta(seconds=ttl)
