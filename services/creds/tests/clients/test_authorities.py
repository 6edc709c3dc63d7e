import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from creds.clients import pki
from creds.clients.authorities import INSTANCE, Authorities
from creds.clients.documents import AUTHORITIES
from creds.clients.pki import Authority
from creds.clients.sealing import Seal
from creds.clients.workers import Workers
from creds.hashing import TokenKeys
from kaa_common.errors import StartError
from kaa_common.store import DocumentStore

NEW, OLD, BOTH = "new:0123456789abcdef", "old:fedcba9876543210", "new:0123456789abcdef,old:fedcba9876543210"


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers("a certificate", 2, 100) as workers:
        yield workers


def replica(store: DocumentStore, workers: Workers, keys: str = BOTH, brought: Authority | None = None) -> Authorities:
    return Authorities(store, Seal(TokenKeys.parse(keys).derive("purpose")), workers, brought)


async def started(
    store: DocumentStore, workers: Workers, keys: str = BOTH, brought: Authority | None = None
) -> Authorities:
    authorities = replica(store, workers, keys, brought)
    await authorities.start()
    return authorities


async def test_replicas_that_start_at_once_have_one_authority_of_each_kind(
    client_store: DocumentStore, workers: Workers
) -> None:
    replicas = [replica(client_store, workers) for _ in range(6)]

    async def begin(authorities: Authorities) -> Authority:
        await authorities.start()
        return await authorities.of_tenant("tenant")

    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(begin(authorities)) for authorities in replicas]
    assert len({task.result().fingerprint for task in made}) == 1
    assert await client_store.count(AUTHORITIES) == 2
    listed = await replicas[0].certificates("tenant")
    assert listed.count("BEGIN CERTIFICATE") == 2


async def test_an_authority_outlives_its_replica(client_store: DocumentStore, workers: Workers) -> None:
    before = await (await started(client_store, workers)).of_tenant("tenant")
    after = await (await started(client_store, workers)).of_tenant("tenant")
    assert before.certificate == after.certificate
    issued = pki.client_certificate(after, "a", pki.new_key().public_key(), datetime.now(UTC), timedelta(days=1))
    issued.verify_directly_issued_by(before.certificate)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_each_tenant_has_an_authority_of_its_own(client_store: DocumentStore, workers: Workers) -> None:
    authorities = await started(client_store, workers)
    one, other = await authorities.of_tenant("one"), await authorities.of_tenant("other")
    assert one.certificate.subject.rfc4514_string() == "CN=one"
    assert one.certificate.issuer == other.certificate.issuer
    assert one.certificate.public_key() != other.certificate.public_key()
    listed = await authorities.certificates("one")
    assert pki.certificate_pem(one.certificate) in listed
    assert pki.certificate_pem(other.certificate) not in listed


async def test_keys_are_sealed_anew_when_the_secret_changed(client_store: DocumentStore, workers: Workers) -> None:
    before = await (await started(client_store, workers, OLD)).of_tenant("tenant")
    await started(client_store, workers, BOTH)
    after = await (await started(client_store, workers, NEW)).of_tenant("tenant")
    assert after.certificate == before.certificate


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_keys_of_tenants_that_cannot_be_opened_are_told_and_keep_nobody_else_out(
    client_store: DocumentStore, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    brought = pki.new_instance_authority(datetime.now(UTC).replace(microsecond=0))
    await (await started(client_store, workers, OLD, brought)).of_tenant("one")
    authorities = await started(client_store, workers, NEW, brought)
    assert f"tenant:one:{brought.fingerprint} cannot be opened: it is encrypted under the secret old" in caplog.text
    await authorities.of_tenant("other")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_lost_secret_is_one_sentence_for_the_operator(client_store: DocumentStore, workers: Workers) -> None:
    await started(client_store, workers, OLD)
    with pytest.raises(StartError, match="CREDS_TOKEN_KEYS"):
        await started(client_store, workers, NEW)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_an_authority_brought_along_issues_those_of_tenants_and_the_former_stay_listed(
    client_store: DocumentStore, workers: Workers
) -> None:
    former = await (await started(client_store, workers)).of_tenant("tenant")
    brought = pki.new_instance_authority(datetime.now(UTC).replace(microsecond=0))
    for _ in range(2):
        authorities = await started(client_store, workers, brought=brought)
        latter = await authorities.of_tenant("tenant")
        latter.certificate.verify_directly_issued_by(brought.certificate)
    listed = await authorities.certificates("tenant")
    assert listed.count("BEGIN CERTIFICATE") == 4
    for authority in (former, latter, brought):
        assert pki.certificate_pem(authority.certificate) in listed
    kept = await client_store.get(AUTHORITIES, [f"{INSTANCE}:{brought.fingerprint}"])
    assert "sealedKey" not in kept[f"{INSTANCE}:{brought.fingerprint}"]
