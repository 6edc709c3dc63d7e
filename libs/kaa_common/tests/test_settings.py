from pathlib import Path

import pytest
from pydantic import Field, SecretStr, model_validator

from kaa_common.errors import StartError
from kaa_common.settings import PlatformSettings, Settings, SettingsError, load


class KettleSettings(Settings):
    port: int = Field(1883, ge=0, le=65535)
    password: SecretStr = SecretStr("")
    low: int = 0
    high: int = 9

    @model_validator(mode="after")
    def check_order(self) -> "KettleSettings":
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


def test_everything_has_a_default() -> None:
    assert load(PlatformSettings, {}).http_port == 8080


def test_variables_are_read_under_their_prefix() -> None:
    assert load(KettleSettings, {"KETTLE_PORT": "1", "PORT": "2", "OTHER_PORT": "3"}, "KETTLE_").port == 1


def test_a_variable_with_a_name_of_its_own_has_no_prefix() -> None:
    settings = load(PlatformSettings, {"NATS_URL": "nats://n:1", "KAA_DATA_DIR": "/data"}, "KETTLE_")

    assert settings.nats_url.get_secret_value() == "nats://n:1"
    assert settings.data_dir == Path("/data")


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load(PlatformSettings, {"MONGODB_URI": "", "KAA_HTTP_PORT": ""}) == load(PlatformSettings, {})


def test_every_variable_that_cannot_be_used_is_named() -> None:
    with pytest.raises(SettingsError) as failed:
        load(PlatformSettings, {"KAA_HTTP_PORT": "many", "KAA_LOG_LEVEL": "LOUD", "KAA_SHUTDOWN_TIMEOUT": "0"})

    lines = str(failed.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["KAA_HTTP_PORT", "KAA_LOG_LEVEL", "KAA_SHUTDOWN_TIMEOUT"]
    assert isinstance(failed.value, StartError)


def test_trusted_proxies_are_addresses_and_networks() -> None:
    settings = load(PlatformSettings, {"KAA_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1,fd00::/8"})
    assert settings.trusted_proxies == "10.0.0.0/8,192.0.2.1,fd00::/8"
    for wrong in ("*", "gateway", "10.0.0.1/8"):
        with pytest.raises(SettingsError, match="KAA_TRUSTED_PROXIES"):
            load(PlatformSettings, {"KAA_TRUSTED_PROXIES": wrong})


def test_a_variable_with_a_prefix_is_named_with_it() -> None:
    with pytest.raises(SettingsError, match="KETTLE_PORT"):
        load(KettleSettings, {"KETTLE_PORT": "70000"}, "KETTLE_")


def test_a_problem_of_several_variables_together_is_told() -> None:
    with pytest.raises(SettingsError, match=r"^Value error, low must not be above high"):
        load(KettleSettings, {"KETTLE_LOW": "10"}, "KETTLE_")


def test_a_secret_is_never_shown() -> None:
    environ = {"KETTLE_PASSWORD": "geheim", "KETTLE_PORT": "x", "NATS_URL": "nats://kaa:geheim@n"}
    shown = repr(load(PlatformSettings, environ))
    with pytest.raises(SettingsError) as failed:
        load(KettleSettings, environ, "KETTLE_")

    assert "geheim" not in shown + str(failed.value) + repr(failed.value)


def test_settings_do_not_change() -> None:
    settings = load(PlatformSettings, {})
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "http_port", 1)  # noqa: B010 # an ordinary assignment would not pass the type check


@pytest.mark.parametrize(
    "environ",
    [
        {"KAA_OIDC_ISSUER": "https://issuer"},
        {"KAA_OIDC_AUDIENCE": "kaa"},
        {"KAA_OIDC_JWKS_URL": "https://issuer/keys"},
        {"KAA_OIDC_ISSUER": "issuer", "KAA_OIDC_AUDIENCE": "kaa"},
        {"KAA_OIDC_ISSUER": "https://issuer", "KAA_OIDC_AUDIENCE": "kaa", "KAA_OIDC_JWKS_URL": "file:///keys"},
    ],
)
def test_an_issuer_has_an_address_and_an_audience(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="KAA_OIDC_"):
        load(PlatformSettings, environ)
