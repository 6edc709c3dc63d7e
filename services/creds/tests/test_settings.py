import pytest

from creds.settings import CredsSettings
from kaa_common.settings import SettingsError, load

SECRET = "0123456789abcdef"


def test_the_keys_are_required() -> None:
    with pytest.raises(SettingsError, match="CREDS_TOKEN_KEYS: "):
        load(CredsSettings, {}, "CREDS_")


def test_what_is_wrong_with_the_keys_is_told_without_a_secret() -> None:
    with pytest.raises(SettingsError, match=r"CREDS_TOKEN_KEYS: .*key id") as refusal:
        load(CredsSettings, {"CREDS_TOKEN_KEYS": SECRET}, "CREDS_")
    assert SECRET not in str(refusal.value)


def test_settings_are_read_and_do_not_show_their_secrets() -> None:
    settings = load(CredsSettings, {"CREDS_TOKEN_KEYS": f"k1:{SECRET}", "CREDS_TOKEN_LENGTH": "20"}, "CREDS_")
    assert settings.keys().hashes("app", "token")[0].startswith("k1:")
    assert settings.token_length == 20
    assert SECRET not in repr(settings)
