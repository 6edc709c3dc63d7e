"""The documents hold what they promise: their links lead somewhere, and they name every variable there is."""

import re
import secrets
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from creds.settings import CredsSettings
from epr.settings import EprSettings
from kaa_common import extension
from kaa_common.avro import decode
from kaa_common.bus import BusMessage, NatsBus
from kaa_common.messages.esp import ExtensionData
from kaa_common.rpc import Rpc
from kaa_common.settings import PlatformSettings, Settings
from kpc.bridge_settings import BridgeSettings
from kpc.settings import KpcSettings
from support.waiting import until
from tekton.settings import TektonSettings
from tsx.settings import TsxSettings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    document
    for pattern in ("*.md", "docs/**/*.md", "libs/*/*.md", "services/*/*.md")
    for document in ROOT.glob(pattern)
]
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
SETTINGS: list[tuple[str, type[Settings]]] = [
    ("", PlatformSettings),
    ("KPC_", KpcSettings),
    ("KPC_BRIDGE_", BridgeSettings),
    ("EPR_", EprSettings),
    ("CREDS_", CredsSettings),
    ("TEKTON_", TektonSettings),
    ("TSX_", TsxSettings),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = [target for _, target in LINK.findall(document.read_text())]
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_functions_that_the_readme_points_at_are_where_it_says() -> None:
    links = re.findall(r"\[`([A-Za-z_.]+)`\]\(([^)]+\.py)\)", (ROOT / "README.md").read_text())
    assert len(links) >= 5
    for name, file in links:
        *class_name, function = name.split(".")
        code = (ROOT / file).read_text()
        assert f"def {function}(" in code, f"{name} is not in {file}"
        assert not class_name or f"class {class_name[0]}" in code, f"{name} is not in {file}"


@pytest.mark.parametrize("file", ["services/tsx/src/tsx/app.py", "services/tsx/src/tsx/settings.py"])
def test_the_extension_that_is_shown_is_the_one_that_ships(file: str) -> None:
    shown = f"<!-- {file} -->\n```python\n{(ROOT / file).read_text()}```\n"
    assert shown in (ROOT / "docs" / "extensions.md").read_text()


async def test_the_push_that_is_shown_goes_to_kpc(rpc: Rpc, bus: NatsBus) -> None:
    text = (ROOT / "docs" / "extensions.md").read_text()
    (shown,) = re.findall(r"<!-- kaa_common.extension.push -->\n```python\n(.*?)```", text, re.DOTALL)
    received: list[ExtensionData] = []

    async def receive(message: BusMessage) -> None:
        received.append(decode(ExtensionData, message.data))

    kpc = f"kpc-{secrets.token_hex(4)}"
    await bus.subscribe(f"kaa.v1.service.{kpc}.esp.ExtensionData", receive)
    settings = PlatformSettings.model_validate({"KPC_INSTANCE": kpc})
    names: dict[str, Any] = {"extension": extension, "platform": SimpleNamespace(rpc=rpc, settings=settings)}
    exec(f"async def push():\n{textwrap.indent(shown, '    ')}", names)
    await names["push"]()
    await until(lambda: bool(received))
    assert (received[0].endpoint_id, received[0].resource_path) == ("station-1", "/command/reboot")


def test_the_operations_guide_names_every_variable() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    variables = {
        str(field.validation_alias or f"{prefix}{name.upper()}")
        for prefix, model in SETTINGS
        for name, field in model.model_fields.items()
    }
    assert sorted(variable for variable in variables if f"`{variable}`" not in guide) == []
