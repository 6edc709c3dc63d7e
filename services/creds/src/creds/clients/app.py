"""Puts the parts of client credentials together, for the service's composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from argon2 import PasswordHasher

from creds.clients.authorities import Authorities
from creds.clients.basic import BasicClients
from creds.clients.certificates import CertificateClients
from creds.clients.documents import BASIC, X509
from creds.clients.last_uses import open_last_uses
from creds.clients.lifecycle import Lifecycle, Sender
from creds.clients.passwords import Passwords
from creds.clients.pki import Authority
from creds.clients.sealing import Seal
from creds.clients.workers import Workers
from kaa_common.bus import Bus
from kaa_common.outbox import open_outbox
from kaa_common.store import DocumentStore

KEY_CONCURRENCY, KEY_QUEUE = 1, 64
"""Making a key and a certificate takes a millisecond: a queue of 64 is done within any client's patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientsOptions:
    hasher: PasswordHasher
    password_concurrency: int
    password_queue: int
    seal: Seal
    authority: Authority | None
    """That of the installation, when it was made elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The use cases of client credentials."""

    basic: BasicClients
    certificates: CertificateClients


@asynccontextmanager
async def open_clients(
    store: DocumentStore, bus: Bus, sender: Sender, options: ClientsOptions
) -> AsyncIterator[Clients]:
    """Client credentials at work, until the context is left. Raises StartError."""
    with (
        Workers("a password check", options.password_concurrency, options.password_queue) as password_workers,
        Workers("a certificate", KEY_CONCURRENCY, KEY_QUEUE) as key_workers,
    ):
        passwords = Passwords(options.hasher, password_workers)
        await passwords.start()
        authorities = Authorities(store, options.seal, key_workers, options.authority)
        await authorities.start()
        async with (
            open_last_uses(store) as last_uses,
            open_outbox(store, bus, BASIC.collection) as basic_outbox,
            open_outbox(store, bus, X509.collection) as x509_outbox,
        ):
            yield Clients(
                basic=BasicClients(Lifecycle(BASIC, store, basic_outbox, last_uses, sender), passwords),
                certificates=CertificateClients(
                    Lifecycle(X509, store, x509_outbox, last_uses, sender), authorities, key_workers
                ),
            )
