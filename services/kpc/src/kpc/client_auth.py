"""Who the clients of this replica's MQTT connections are, and whether they may speak for a tenant (22/CAP).

A client may prove itself by a username and a password, `<username>@<tenant id>`, by a certificate, or by both; what it
shows is always verified, and refused when it is no good. What a tenant requires is checked when the client connects, as
far as its tenant is known then (an anonymous one is taken for one of the installation's tenant), with each message for
an application version of a tenant, and again when a tenant's requirements change: who does not meet them is ended.

A credential that is withdrawn ends its connections at once; a certificate that expires does within a minute. An answer
that a withdrawal has overtaken is refused.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from math import inf

from cryptography import x509
from prometheus_client import Counter

from kaa_common.app_versions import AppVersion
from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import Forbidden, KaaError
from kaa_common.messages.cap import (
    AUTHENTICATE_BASIC,
    AUTHENTICATE_CERTIFICATE,
    ClientBasicAuthenticationRequest,
    ClientCertificateAuthenticationRequest,
)
from kaa_common.rpc import Rpc, request_header
from kpc.mqtt.packets import Connect
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt_connection import Connection
from kpc.tenants import Requirements, Tenants
from kpc.withdrawals import Withdrawals

logger = logging.getLogger(__name__)

AUTHENTICATION_TIMEOUT = 5.0
"""Seconds to find out who a client is: half of what CONNECT may take."""
LOOK_AGAIN_AFTER = 60.0
"""Seconds until all connections are checked again, besides when something changed."""
RETRY_AFTER = 1.0
ENFORCE_TIMEOUT = 4.0
MAX_WITHDRAWN, WITHDRAWN_FOR = 10_000, 30.0
"""Credentials, and seconds, for which it is remembered that they were withdrawn: longer than an answer takes."""
CHECKED_AT_ONCE = 500
"""Connections checked before others get their turn: a millisecond."""

REFUSALS: Mapping[int, ReasonCode] = {
    HTTPStatus.BAD_REQUEST: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    HTTPStatus.NOT_FOUND: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    HTTPStatus.FORBIDDEN: ReasonCode.NOT_AUTHORIZED,
    HTTPStatus.TOO_MANY_REQUESTS: ReasonCode.SERVER_BUSY,
}
"""What a client is told whose credentials are not accepted; that they cannot be verified now for every other status."""
AUTHENTICATIONS = Counter(
    "kpc_client_authentications", "Credentials that MQTT clients showed, by kind and reason code", ["kind", "reason"]
)


class RefusedError(Exception):
    """The client is not let in."""

    def __init__(self, reason_code: ReasonCode) -> None:
        super().__init__(reason_code.name)
        self.reason_code = reason_code


@dataclass(frozen=True, slots=True)
class Proof:
    """Credentials that were found good."""

    credentials_id: str
    tenant_id: str
    ends: float = inf
    """When the certificate expires, in UNIX milliseconds."""


@dataclass(slots=True)
class Client:
    """Who is on a connection."""

    connection: Connection
    since: int
    """When it came, in UNIX milliseconds."""
    basic: Proof | None = None
    certificate: Proof | None = None
    tenant_ids: tuple[str, ...] = ()
    """For which it has spoken."""
    refusal: str = ""
    """Why its connection is to be closed."""

    @property
    def proofs(self) -> tuple[Proof, ...]:
        return tuple(proof for proof in (self.basic, self.certificate) if proof is not None)

    @property
    def tenant_id(self) -> str | None:
        """That of its credentials."""
        proof = self.basic or self.certificate
        return None if proof is None else proof.tenant_id

    def lacks(self, requirements: Requirements) -> str:
        """What is required that it did not show, or not any more; empty when that is nothing."""
        if self.certificate is not None and self.certificate.ends <= now_ms():
            return "the certificate has expired"
        if requirements.basic and self.basic is None:
            return "a username and a password are required"
        if requirements.x509 and self.certificate is None:
            return "a certificate is required"
        return ""


class ClientAuth:
    """The clients of the replica's connections."""

    def __init__(self, rpc: Rpc, ccm_instance: str, tenants: Tenants, tenant_id: str) -> None:
        """`tenant_id` is that of the installation."""
        self._rpc = rpc
        self._ccm_instance = ccm_instance
        self._tenants = tenants
        self._tenant_id = tenant_id
        self._clients: dict[int, Client] = {}
        self._by_credentials: dict[str, set[int]] = {}
        self._withdrawals = Withdrawals(MAX_WITHDRAWN, WITHDRAWN_FOR)
        rpc.bus.on_connection_lost(self._withdrawals.add_everything)

    # For the connections

    async def connected(self, connection: Connection, connect: Connect) -> ReasonCode:
        """Whether the client may come in: SUCCESS, or why not."""
        client = self._clients[connection.id] = Client(connection, now_ms())
        reason_code = ReasonCode.SERVER_UNAVAILABLE
        try:
            await self._prove(client, connect, Deadline.after(AUTHENTICATION_TIMEOUT))
            reason_code = ReasonCode.SUCCESS
        except RefusedError as exc:
            reason_code = exc.reason_code
        except KaaError as exc:
            logger.debug("%s cannot be authenticated: %s", connection, exc)
        finally:
            if reason_code is not ReasonCode.SUCCESS:
                self.disconnected(connection)
        return reason_code

    async def check(self, connection: Connection, app_version: AppVersion, deadline: Deadline) -> None:
        """Raises Forbidden unless the client may speak for the application version, KaaError when that is unknown.

        Where the tenant requires what the client did not show, its connection is to be closed.
        """
        client = self._clients.get(connection.id)
        if client is None:
            raise Forbidden("the client is gone")
        tenant_id = app_version.tenant_id
        requirements = await self._tenants.requirements(tenant_id, connection.transport_name, deadline)
        lack = client.lacks(requirements)
        if client.tenant_id not in (None, tenant_id):
            reason = "the client's credentials are those of another tenant"
            if requirements.basic or requirements.x509:
                client.refusal = reason
            raise Forbidden(reason)
        if lack:
            client.refusal = lack
            raise Forbidden(lack)
        if tenant_id not in client.tenant_ids:
            client.tenant_ids = (*client.tenant_ids, tenant_id)

    def close_refused(self, connection: Connection) -> None:
        """Close the connection if it is to be."""
        client = self._clients.get(connection.id)
        if client is not None and client.refusal:
            connection.close(client.refusal, ReasonCode.NOT_AUTHORIZED)

    def is_anonymous(self, connection: Connection) -> bool:
        """Whether it was made without credentials."""
        return not self._clients[connection.id].proofs

    def are_the_same(self, connection: Connection, other: Connection) -> bool:
        """Whether both were made with the same credentials."""
        return not self.is_anonymous(connection) and (
            self._clients[connection.id].proofs == self._clients[other.id].proofs
        )

    def disconnected(self, connection: Connection) -> None:
        client = self._clients.pop(connection.id)
        for proof in client.proofs:
            connection_ids = self._by_credentials[proof.credentials_id]
            connection_ids.discard(connection.id)
            if not connection_ids:
                del self._by_credentials[proof.credentials_id]

    def client_on(self, connection_id: int) -> Client | None:
        """Who is on the connection."""
        return self._clients.get(connection_id)

    # For the cut-off

    def credentials_in_use(self) -> Collection[str]:
        return tuple(self._by_credentials)

    def end_clients(self, credentials_id: str) -> int:
        """End the connections that were made with these credentials; how many there were."""
        self._withdrawals.add(credentials_id)
        connection_ids = tuple(self._by_credentials.get(credentials_id, ()))
        ended = 0
        for connection_id in connection_ids:
            client = self._clients[connection_id]
            if not client.refusal:
                client.refusal = "the client's credentials were withdrawn"
                ended += 1
            self.close_refused(client.connection)
        return ended

    # The requirements

    async def enforce(self) -> None:
        """Close every connection that does not meet the requirements. Raises KaaError when they cannot be found out."""
        for number, client in enumerate(tuple(self._clients.values())):
            if number % CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            if client.connection.is_open:  # else it has yet to prove itself, or is gone
                client.refusal = client.refusal or await self._refusal(client)
                self.close_refused(client.connection)

    async def keep_enforcing(self) -> None:
        changed = self._tenants.changed
        while True:
            try:
                async with asyncio.timeout(LOOK_AGAIN_AFTER):
                    await changed.wait()
            except TimeoutError:
                logger.debug("checking the clients of %d connections again", len(self._clients))
            changed.clear()
            try:
                await self.enforce()
            except KaaError as exc:
                logger.debug("the clients are checked again: %s", exc)
                await asyncio.sleep(RETRY_AFTER)
                changed.set()

    # How it is done

    async def _prove(self, client: Client, connect: Connect, deadline: Deadline) -> None:
        certificate = client.connection.certificate
        if certificate is not None:
            client.certificate = await _counted("x509", self._prove_certificate(certificate, deadline))
            self._note(client, client.certificate)
        if connect.username is not None or connect.password is not None:
            client.basic = await _counted("basic", self._prove_basic(connect, deadline))
            self._note(client, client.basic)
        if len({proof.tenant_id for proof in client.proofs}) > 1:
            raise RefusedError(ReasonCode.NOT_AUTHORIZED)
        transport = client.connection.transport_name
        try:
            tenant_id = client.tenant_id or self._tenant_id
            requirements = await self._tenants.requirements(tenant_id, transport, deadline)
        except KaaError as exc:
            # It does not matter yet: nothing is carried for the client before that is known.
            logger.debug("%s: what its tenant requires is not known: %s", client.connection, exc)
            return
        if requirements.basic and client.basic is None:
            raise RefusedError(ReasonCode.NOT_AUTHORIZED)

    def _note(self, client: Client, proof: Proof) -> None:
        # In the same step as the answer is looked at: whatever is withdrawn from now on is found here.
        self._by_credentials.setdefault(proof.credentials_id, set()).add(client.connection.id)

    async def _prove_basic(self, connect: Connect, deadline: Deadline) -> Proof:
        username, separator, tenant_id = (connect.username or "").rpartition("@")
        if not separator:
            username, tenant_id = tenant_id, self._tenant_id
        try:
            password = (connect.password or b"").decode()
        except UnicodeDecodeError:
            raise RefusedError(ReasonCode.BAD_USER_NAME_OR_PASSWORD) from None
        request = ClientBasicAuthenticationRequest(
            **request_header(deadline), tenant_id=tenant_id, username=username, password=password
        )
        asked_at = self._withdrawals.latest
        response = (await self._rpc.call(AUTHENTICATE_BASIC, self._ccm_instance, request)).message
        return self._proof(response.status_code, response.credentials_id, tenant_id, asked_at)

    async def _prove_certificate(self, certificate: bytes, deadline: Deadline) -> Proof:
        parsed = x509.load_der_x509_certificate(certificate)
        request = ClientCertificateAuthenticationRequest(
            **request_header(deadline),
            issuer=parsed.issuer.rfc4514_string(),
            serial_number=str(parsed.serial_number),
        )
        asked_at = self._withdrawals.latest
        response = (await self._rpc.call(AUTHENTICATE_CERTIFICATE, self._ccm_instance, request)).message
        if response.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
            raise RefusedError(ReasonCode.NOT_AUTHORIZED)
        proof = self._proof(response.status_code, response.credentials_id, response.tenant_id, asked_at)
        return replace(proof, ends=parsed.not_valid_after_utc.timestamp() * 1000)

    def _proof(self, status_code: int, credentials_id: str | None, tenant_id: str | None, asked_at: int) -> Proof:
        if status_code != HTTPStatus.OK or credentials_id is None or tenant_id is None:
            raise RefusedError(REFUSALS.get(status_code, ReasonCode.SERVER_UNAVAILABLE))
        if self._withdrawals.are_later(credentials_id, asked_at):
            raise RefusedError(ReasonCode.NOT_AUTHORIZED)
        return Proof(credentials_id, tenant_id)

    async def _refusal(self, client: Client) -> str:
        """What the client lacks; empty when it meets the requirements."""
        deadline = Deadline.after(ENFORCE_TIMEOUT)
        for tenant_id in (client.tenant_id or self._tenant_id, *client.tenant_ids):
            requirements = await self._tenants.requirements(tenant_id, client.connection.transport_name, deadline)
            if tenant_id not in client.tenant_ids:
                # Its tenant is a guess yet: a certificate is asked for with its first message.
                requirements = Requirements(basic=requirements.basic)
            if lack := client.lacks(requirements):
                return lack
        return ""


async def _counted(kind: str, proving: Awaitable[Proof]) -> Proof:
    reason_code = ReasonCode.SERVER_UNAVAILABLE
    try:
        proof = await proving
        reason_code = ReasonCode.SUCCESS
    except RefusedError as exc:
        reason_code = exc.reason_code
        raise
    finally:
        AUTHENTICATIONS.labels(kind, reason_code.name).inc()
    return proof


@asynccontextmanager
async def enforcing(client_auth: ClientAuth) -> AsyncIterator[None]:
    """Connections that do not meet the requirements any more are closed until the context is left."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(client_auth.keep_enforcing(), name="client requirements")
        try:
            yield
        finally:
            task.cancel()
