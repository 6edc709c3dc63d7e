"""The compose file: the same image, settings and routes as on Kubernetes, and no start without secrets."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaa_cli.service_names import SERVICE_NAMES
from kaa_common.settings import PlatformSettings
from kpc.settings import KpcSettings

VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")

Manifest = dict[str, Any]  # Any: YAML, checked by what is asked of it


@pytest.fixture(scope="session")
def text(root: Path) -> str:
    return (root / "docker-compose.yml").read_text()


@pytest.fixture(scope="session")
def containers(text: str) -> dict[str, Manifest]:
    """The compose file's services, variables not yet replaced."""
    loaded: dict[str, Manifest] = yaml.safe_load(text)["services"]
    return loaded


def replaced(value: str, environ: Mapping[str, str]) -> str:
    """The value with its variables replaced."""
    return VARIABLE.sub(lambda match: environ.get(match[1]) or (match[3] if match[2] == "-" else ""), value)


def test_the_compose_file_has_every_service(containers: dict[str, Manifest]) -> None:
    from_image = {name: container["command"] for name, container in containers.items() if "build" in container}
    assert from_image == {name: [name] for name in SERVICE_NAMES}


def test_compose_and_kubernetes_name_the_same_image(containers: dict[str, Manifest], kustomization: Manifest) -> None:
    (image,) = kustomization["images"]
    used = {replaced(containers[service]["image"], {}) for service in SERVICE_NAMES}
    assert used == {f"{image['name']}:{image['newTag']}"}


def test_compose_builds_on_the_base_image_of_the_dockerfile(containers: dict[str, Manifest], dockerfile: str) -> None:
    (default,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", dockerfile, re.MULTILINE)
    for service in SERVICE_NAMES:
        assert replaced(containers[service]["build"]["args"]["PYTHON_IMAGE"], {}) == default


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_service_reads_every_variable_it_is_given_and_can_start_with_them(
    service: str,
    containers: dict[str, Manifest],
    secrets: dict[str, str],
    image_environ: dict[str, str],
    variables_read: Callable[[str, Mapping[str, str]], set[str]],
) -> None:
    environ = {name: replaced(value, secrets) for name, value in containers[service]["environment"].items()}
    read = variables_read(service, {**image_environ, **environ})
    assert set(environ) <= read


def test_every_variable_of_the_image_is_read_by_a_service(
    image_environ: dict[str, str],
    secrets: dict[str, str],
    variables_read: Callable[[str, Mapping[str, str]], set[str]],
) -> None:
    assert set(image_environ) <= set().union(*(variables_read(service, secrets) for service in SERVICE_NAMES))


def test_a_missing_secret_stops_compose_with_a_hint(text: str, secrets: dict[str, str]) -> None:
    asked = {name: (operator, word) for name, operator, word in VARIABLE.findall(text)}
    required = {name for name, (operator, _) in asked.items() if operator == "?"}
    assert required == set(secrets)
    assert {asked[name][1] for name in required} == {"run deploy/make-env.sh first"}
    assert all(operator for operator, _ in asked.values())


def test_the_gateway_has_the_routes_of_the_ingress(root: Path, ingress_routes: dict[str, str]) -> None:
    conf = (root / "deploy" / "compose" / "gateway.conf").read_text()
    routes = re.findall(r"~\^(/\w+)\(/\|\$\)\s+(\w+);", conf)
    assert dict(routes) == ingress_routes
    assert len(routes) == len(ingress_routes)


def test_only_the_gateway_and_mqtt_are_reached_from_outside(containers: dict[str, Manifest]) -> None:
    published = {name: container["ports"] for name, container in containers.items() if "ports" in container}
    mqtt_port, tls_port = (KpcSettings.model_fields[name].default for name in ("mqtt_port", "tls_port"))
    assert published == {
        "gateway": ["${HTTP_PORT:-8080}:8080"],
        "kpc": [f"${{MQTT_PORT:-1883}}:{mqtt_port}", f"${{TLS_PORT:-8883}}:{tls_port}"],
    }


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_service_is_healthy_when_it_is_ready_and_gets_the_time_to_stop(
    service: str, containers: dict[str, Manifest]
) -> None:
    http_port = PlatformSettings.model_fields["http_port"].default
    grace = int(containers[service]["stop_grace_period"].removesuffix("s"))
    assert f"http://127.0.0.1:{http_port}/readyz" in containers[service]["healthcheck"]["test"][-1]
    assert grace > PlatformSettings.model_fields["shutdown_timeout"].default


def test_every_file_that_is_mounted_exists(root: Path, containers: dict[str, Manifest]) -> None:
    sources = [volume.split(":")[0] for container in containers.values() for volume in container.get("volumes", ())]
    files = [root / source for source in sources if source.startswith("./")]
    assert files
    assert all(file.is_file() for file in files)


def test_compose_and_kubernetes_run_the_same_nats_and_mongodb(
    containers: dict[str, Manifest], manifests: list[Manifest]
) -> None:
    workloads = [m["spec"]["template"]["spec"] for m in manifests if m["kind"] in ("Deployment", "StatefulSet")]
    images = {container["image"] for pod in workloads for container in pod["containers"]}
    assert {replaced(containers[name]["image"], {}) for name in ("nats", "mongo")} <= images
