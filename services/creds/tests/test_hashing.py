import hashlib
import hmac

import pytest

from creds.hashing import TokenKeys

SECRET = "0123456789abcdef"


def test_a_hash_is_the_keyed_one_behind_the_id_of_its_key() -> None:
    expected = hmac.new(SECRET.encode(), b"app\0token", hashlib.sha256).hexdigest()
    assert TokenKeys.parse(f"k1:{SECRET}").hashes("app", "token") == [f"k1:{expected}"]


def test_the_current_key_comes_first_and_older_ones_follow() -> None:
    both = TokenKeys.parse(f"k2:{SECRET[::-1]}, k1:{SECRET}").hashes("app", "token")
    assert [hashed.partition(":")[0] for hashed in both] == ["k2", "k1"]
    assert both[1:] == TokenKeys.parse(f"k1:{SECRET}").hashes("app", "token")


def test_neither_value_nor_application_nor_secret_can_be_exchanged() -> None:
    keys = TokenKeys.parse(f"k1:{SECRET}")
    hashes = [
        keys.hashes("app", "token"),
        keys.hashes("app", "other"),
        keys.hashes("other", "token"),
        TokenKeys.parse(f"k1:{SECRET}!").hashes("app", "token"),
    ]
    assert len({hashed for [hashed] in hashes}) == 4


def test_a_secret_may_hold_a_colon() -> None:
    assert TokenKeys.parse(f"k1:{SECRET}:more") != TokenKeys.parse(f"k1:{SECRET}")


@pytest.mark.parametrize(
    "text", ["", SECRET, f":{SECRET}", f"k 1:{SECRET}", "k1:tooshort!", f"k1:{SECRET},", f"k1:{SECRET},k1:{SECRET}x"]
)
def test_keys_that_cannot_be_used_are_refused_without_showing_a_secret(text: str) -> None:
    with pytest.raises(ValueError, match="key") as refusal:
        TokenKeys.parse(text)
    assert SECRET not in str(refusal.value)
    assert "tooshort!" not in str(refusal.value)


def test_the_keys_do_not_show_their_secrets() -> None:
    assert SECRET not in repr(TokenKeys.parse(f"k1:{SECRET}"))
