"""What is deployed, as data: the Kubernetes base, the compose file, and what the services read from an environment."""

import re
import subprocess
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaa_common.settings import PlatformSettings, Settings, load

Manifest = dict[str, Any]  # Any: YAML, whose shape the schemas check


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def base(root: Path) -> Path:
    """The kustomization that everything on Kubernetes is built on."""
    return root / "deploy" / "k8s" / "base"


@pytest.fixture(scope="session")
def kustomization(base: Path) -> Manifest:
    loaded: Manifest = yaml.safe_load((base / "kustomization.yaml").read_text())
    return loaded


@pytest.fixture(scope="session")
def manifests(base: Path, kustomization: Manifest) -> list[Manifest]:
    """The objects of the base, as they are written."""
    texts = [(base / name).read_text() for name in kustomization["resources"]]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text)]


@pytest.fixture(scope="session")
def ingress_routes(manifests: list[Manifest]) -> dict[str, str]:
    """The service that each path goes to on Kubernetes."""
    (ingress,) = (manifest for manifest in manifests if manifest["kind"] == "Ingress")
    (rule,) = ingress["spec"]["rules"]
    return {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}


@pytest.fixture(scope="session")
def dockerfile(root: Path) -> str:
    return (root / "Dockerfile").read_text()


@pytest.fixture(scope="session")
def image_environ(dockerfile: str) -> dict[str, str]:
    """The variables that the image sets for the services."""
    instruction = re.findall(r"^ENV ((?:.*\\\n)*.*)$", dockerfile, re.MULTILINE)[-1]
    settings = dict(setting.split("=", 1) for setting in instruction.replace("\\\n", " ").split())
    return {name: value for name, value in settings.items() if name not in ("PATH", "PYTHONUNBUFFERED")}


@pytest.fixture(scope="session")
def secrets(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The secrets of an installation, made as a user makes them."""
    file = tmp_path_factory.mktemp("secrets") / "env"
    subprocess.run(["sh", root / "deploy" / "make-env.sh", file], check=True, capture_output=True)
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="session")
def variables_read() -> Callable[[str, Mapping[str, str]], set[str]]:
    """The variables that a service reads; fails if it could not start with the environment given."""

    def read(service: str, environ: Mapping[str, str]) -> set[str]:
        prefix = f"{service.upper()}_"
        models: list[type[Settings]] = [PlatformSettings, *_own_settings(service)]
        for model in models:
            load(model, environ, prefix)
        return {_variable(model, field, prefix) for model in models for field in model.model_fields}

    return read


def _own_settings(service: str) -> list[type[Settings]]:
    if find_spec(f"{service}.settings") is None:
        return []
    members = vars(import_module(f"{service}.settings")).values()
    return [member for member in members if isinstance(member, type) and issubclass(member, Settings)]


def _variable(model: type[Settings], field: str, prefix: str) -> str:
    alias = model.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else prefix + field.upper()
