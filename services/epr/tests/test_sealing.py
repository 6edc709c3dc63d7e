import pytest

from epr.sealing import CannotOpen, new_key, public_half, seal, unseal


def test_only_the_holder_of_the_key_can_read() -> None:
    key = new_key()
    sealed = seal(public_half(key), b"token")
    assert unseal(key, sealed) == b"token"
    assert "token" not in sealed
    with pytest.raises(CannotOpen):
        unseal(new_key(), sealed)


def test_the_same_text_is_never_sealed_the_same() -> None:
    public = public_half(new_key())
    assert seal(public, b"token") != seal(public, b"token")


@pytest.mark.parametrize("broken", ["", "AAAA", "not base64 ~", "A" * 88])
def test_what_was_not_sealed_cannot_be_opened(broken: str) -> None:
    with pytest.raises(CannotOpen):
        unseal(new_key(), broken)


def test_a_key_has_a_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        public_half(b"short")
