import pytest

from creds.clients.sealing import Seal, SealBroken
from creds.hashing import TokenKeys

KEYS = TokenKeys.parse("new:0123456789abcdef,old:fedcba9876543210").derive("purpose")
OLD = {"old": KEYS["old"]}


def test_what_is_sealed_is_unreadable_and_opens_again() -> None:
    seal = Seal(KEYS)
    sealed = seal.close(b"private", "owner")
    assert sealed.startswith("new:")
    assert sealed != seal.close(b"private", "owner")
    assert seal.open(sealed, "owner") == b"private"


def test_what_an_older_secret_sealed_opens_and_is_told_from_current() -> None:
    sealed, seal = Seal(OLD).close(b"private", "owner"), Seal(KEYS)
    assert seal.open(sealed, "owner") == b"private"
    assert not seal.is_current(sealed)
    assert seal.is_current(seal.close(b"private", "owner"))


def test_without_its_secret_it_stays_closed() -> None:
    sealed = Seal(KEYS).close(b"private", "owner")
    with pytest.raises(SealBroken, match="new"):
        Seal(OLD).open(sealed, "owner")
    with pytest.raises(SealBroken, match="another one"):
        Seal({"new": KEYS["old"]}).open(sealed, "owner")


def test_it_opens_for_its_owner_only_and_unchanged_only() -> None:
    seal = Seal(KEYS)
    sealed = seal.close(b"private", "owner")
    with pytest.raises(SealBroken):
        seal.open(sealed, "other")
    changed = sealed[:-5] + ("A" if sealed[-5] != "A" else "B") + sealed[-4:]
    with pytest.raises(SealBroken):
        seal.open(changed, "owner")


def test_keys_for_different_purposes_and_of_different_secrets_differ() -> None:
    keys = TokenKeys.parse("new:0123456789abcdef,old:fedcba9876543210")
    derived = [*keys.derive("a").values(), *keys.derive("b").values()]
    assert len(set(derived)) == 4
    assert {len(key) for key in derived} == {32}


def test_a_key_is_derived_as_rfc_5869_says() -> None:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    expected = HKDF(SHA256(), 32, salt=None, info=b"purpose").derive(b"0123456789abcdef")
    assert KEYS["new"] == expected
