"""What whoever gets hold of the database learns: no password, no private key."""

import json
from base64 import b64decode, b64encode
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey as EcKey

from creds.clients.app import Clients
from creds.clients.documents import AUTHORITIES, COLLECTIONS
from kaa_common.store import DocumentStore, compile_query

EVERYTHING = compile_query({})


async def dump(store: DocumentStore) -> str:
    """All that is kept of client credentials."""
    documents = [(await store.query(collection, EVERYTHING, limit=1000)).documents for collection in COLLECTIONS]
    assert all(documents)
    return json.dumps(documents)


async def test_the_database_holds_neither_passwords_nor_private_keys(
    clients: Clients, client_store: DocumentStore, tmp_path: Path
) -> None:
    given = await clients.basic.create("tenant", "user", "correct horse")
    generated = await clients.basic.create("tenant", None, None)
    issued = await clients.certificates.issue("tenant", "device", 60)
    await clients.basic.authenticate("tenant", "user", "correct horse")
    await clients.basic.lifecycle._last_uses.flush()

    authorities = clients.certificates._authorities
    keys = [authorities._issuer.private_key, (await authorities.of_tenant("tenant")).private_key]
    assert issued.private_key is not None
    keys.append(private_key_of(issued.private_key))
    raw = [key.private_numbers().private_value.to_bytes(32, "big") for key in keys if isinstance(key, EcKey)]
    assert len(raw) == 3

    text = await dump(client_store)
    for secret in (given.password, generated.password, "PRIVATE KEY"):
        assert secret not in text
    sealed = [
        document["sealedKey"] for document in (await client_store.query(AUTHORITIES, EVERYTHING, limit=10)).documents
    ]
    assert len(sealed) == 2
    files = [path.read_bytes() for path in tmp_path.glob("creds.db*")]
    for content in (*files, text.encode(), *(b64decode(one.partition(":")[2]) for one in sealed)):
        for number in raw:
            for form in (number, number.hex().encode(), b64encode(number)[:40]):
                assert form not in content
        assert given.password.encode() not in content
        assert generated.password.encode() not in content


def private_key_of(pem: str) -> EcKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, EcKey)
    return key
