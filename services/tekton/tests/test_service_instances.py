import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from kaa_common.errors import StartError
from kaa_common.settings import PlatformSettings
from tekton.service_instances import OF_THIS_PLATFORM, ServiceInstances

ONLY_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
INSTANCE = {"serviceName": "DCX", "serviceGroup": "Data collection", "appConfigurationSchema": {"type": "object"}}


@ONLY_SQLITE
async def test_the_service_instances_of_the_platform_are_listed(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/service-instances")).json()
    assert [instance["name"] for instance in listed] == ["kpc", "cm", "ccm", "epr", "epmx", "epl", "tsx"]
    assert next(instance for instance in listed if instance["name"] == "epmx") == {
        "name": "epmx",
        "serviceName": "EPMX",
        "serviceGroup": "Identity management",
        "description": "Lets devices read and change their metadata.",
        "appConfigurationSchemaPresent": False,
        "appVersionConfigurationSchemaPresent": True,
    }


@ONLY_SQLITE
async def test_schemas_are_answered_when_they_are_asked_for(client: httpx.AsyncClient) -> None:
    plain = (await client.get("/service-instances/kpc")).json()
    included = (await client.get("/service-instances/kpc?include=appVersionConfigurationSchema")).json()
    assert "allowed-extension-instances" in included.pop("appVersionConfigurationSchema")["properties"]
    assert included == plain
    assert (await client.get("/service-instances?include=schemas")).status_code == 400
    assert (await client.get("/service-instances/other")).status_code == 404


def test_the_names_are_those_that_services_have_by_default() -> None:
    defaults = {field.default for name, field in PlatformSettings.model_fields.items() if name.endswith("_instance")}
    assert defaults - {"tekton"} <= set(ServiceInstances.read(OF_THIS_PLATFORM).names())


@pytest.mark.parametrize(
    ("instance", "configuration", "good"),
    [
        ("kpc", {"allowed-extension-instances": ["epmx", "tsx"]}, True),
        ("kpc", {"allowed-extension-instances": "epmx"}, False),
        ("epmx", {"metadata-keys": {"model": {"write-enabled": False}, "mac": None}}, True),
        ("epmx", {"metadata-keys": None}, True),
        ("epmx", {"metadata-keys": {"model": {"write-enabled": "no"}}}, False),
        ("epl", {"connectivity": {"metadata-keys": {"state": "connected", "state-ts": "connectivity_ts"}}}, True),
        ("epl", {"connectivity": {"metadata-keys": {"state": "not.a.key"}}}, False),
    ],
)
def test_a_schema_says_what_a_service_understands(instance: str, configuration: Any, good: bool) -> None:
    schema = ServiceInstances.read(OF_THIS_PLATFORM).get(instance).app_version_configuration_schema
    assert schema is not None
    assert jsonschema.Draft7Validator(schema).is_valid(configuration) is good


def test_an_installation_may_have_a_list_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"dcx": INSTANCE}))
    assert ServiceInstances.read(file).get("dcx").app_configuration_schema == {"type": "object"}


@pytest.mark.parametrize("text", ["", "[]", '{"dcx": {}}', '{"d.x": {"serviceName": "X", "serviceGroup": "Y"}}'])
def test_a_list_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "instances.json"
    file.write_text(text)
    with pytest.raises(StartError, match=r"instances\.json is no list of service instances: [^\n]*$"):
        ServiceInstances.read(file)
