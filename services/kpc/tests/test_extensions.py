import pytest
from pydantic import TypeAdapter, ValidationError

from kpc.extensions import parse_extensions
from kpc.settings import KpcSettings


def test_an_extension_is_endpoint_aware_unless_it_says_otherwise() -> None:
    assert parse_extensions("epmx,tsx:unaware,cmx_ota") == {"epmx": True, "tsx": False, "cmx_ota": True}


def test_the_extensions_of_the_platform_itself_are_the_default() -> None:
    settings = TypeAdapter(KpcSettings).validate_python({})
    assert parse_extensions(settings.extensions) == {"epmx": True, "tsx": False}


@pytest.mark.parametrize("text", ["epmx,", "epmx;tsx", "tsx:aware", "tsx:unaware:unaware", "a.b", ":unaware", "*"])
def test_what_names_no_extensions_is_no_setting(text: str) -> None:
    with pytest.raises(ValidationError):
        KpcSettings.model_validate({"extensions": text})
