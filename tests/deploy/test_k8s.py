"""The Kubernetes base: valid for the API server, and true to what the services read, listen on and need to stop."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kaa_cli.service_names import SERVICE_NAMES
from kaa_common.settings import PlatformSettings
from kpc.settings import KpcSettings

KUBERNETES_VERSIONS = ("1.28", kubernetes_validate.latest_version())

Manifest = dict[str, Any]  # Any: YAML, whose shape the schemas check


@pytest.fixture(scope="session")
def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod of each Deployment and StatefulSet, by its name."""
    kinds = ("Deployment", "StatefulSet")
    return {m["metadata"]["name"]: m["spec"]["template"] for m in manifests if m["kind"] in kinds}


MQTT_PORTS = {"mqtt": "mqtt", "mqtts": "tls"}


def container_of(workload: Manifest) -> Manifest:
    (container,) = workload["spec"]["containers"]
    return dict(container)


def ports_of(workload: Manifest) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container_of(workload)["ports"]}


def environ_of(workload: Manifest, secrets: Mapping[str, str]) -> dict[str, str]:
    """The environment as the kubelet makes it."""
    environ: dict[str, str] = {}
    for variable in container_of(workload).get("env", ()):
        if "valueFrom" in variable:
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["name"] == "kaa"
            environ[variable["name"]] = secrets[reference["key"]]
        else:
            environ[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: environ[name[1]], variable["value"])
    return environ


def check_schema(manifest: Manifest) -> None:
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_manifest_satisfies_the_schemas_of_kubernetes(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        check_schema(manifest)


def test_the_schemas_refuse_a_misspelt_field() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        check_schema({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": []}})


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_renders_the_base_into_valid_objects_of_its_namespace(base: Path, kustomization: Manifest) -> None:
    rendered = subprocess.run(["kubectl", "kustomize", base], check=True, capture_output=True, text=True).stdout
    for manifest in yaml.safe_load_all(rendered):
        check_schema(manifest)
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kaa"
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == kustomization["namespace"]


def test_every_file_of_the_base_is_used(base: Path, kustomization: Manifest) -> None:
    generated = [name for generator in kustomization["configMapGenerator"] for name in generator["files"]]
    used = {"kustomization.yaml", *kustomization["resources"], *generated}
    assert {file.name for file in base.iterdir()} == used


def test_every_service_runs_from_the_one_image(workloads: dict[str, Manifest], kustomization: Manifest) -> None:
    (image,) = kustomization["images"]
    of_the_image = {
        name: container_of(workload)["args"]
        for name, workload in workloads.items()
        if container_of(workload)["image"] == image["name"]
    }
    assert of_the_image == {name: [name] for name in SERVICE_NAMES}


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_service_reads_every_variable_it_is_given_and_can_start_with_them(
    service: str,
    workloads: dict[str, Manifest],
    secrets: dict[str, str],
    image_environ: dict[str, str],
    variables_read: Callable[[str, Mapping[str, str]], set[str]],
) -> None:
    environ = environ_of(workloads[service], secrets)
    read = variables_read(service, {**image_environ, **environ})
    assert set(environ) - {"NATS_PASSWORD"} <= read
    assert environ["NATS_URL"] == f"nats://kaa:{secrets['NATS_PASSWORD']}@nats:4222"


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_probes_ask_the_port_that_the_service_listens_on(service: str, workloads: dict[str, Manifest]) -> None:
    http_port = PlatformSettings.model_fields["http_port"].default
    of_kpc = {name: KpcSettings.model_fields[f"{setting}_port"].default for name, setting in MQTT_PORTS.items()}
    expected = {"http": http_port, **(of_kpc if service == "kpc" else {})}
    container = container_of(workloads[service])
    assert ports_of(workloads[service]) == expected
    assert container["startupProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_service_gets_the_time_it_needs_to_stop(service: str, workloads: dict[str, Manifest]) -> None:
    pre_stop = container_of(workloads[service])["lifecycle"]["preStop"]["exec"]["command"]
    needed = int(pre_stop[1]) + PlatformSettings.model_fields["shutdown_timeout"].default
    assert workloads[service]["spec"]["terminationGracePeriodSeconds"] > needed


def test_no_pod_is_root_or_may_change_its_image(workloads: dict[str, Manifest]) -> None:
    for workload in workloads.values():
        pod = workload["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container_of(workload)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_pod_gets_variables_that_kubernetes_derives_from_services(workloads: dict[str, Manifest]) -> None:
    assert all(workload["spec"]["enableServiceLinks"] is False for workload in workloads.values())


def test_pods_of_the_services_run_as_the_user_of_the_image(workloads: dict[str, Manifest], dockerfile: str) -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    assert {workloads[service]["spec"]["securityContext"]["runAsUser"] for service in SERVICE_NAMES} == {int(user)}


def test_every_service_object_selects_pods_that_have_its_ports(
    manifests: list[Manifest], workloads: dict[str, Manifest]
) -> None:
    for service in (manifest["spec"] for manifest in manifests if manifest["kind"] == "Service"):
        (selected,) = (w for w in workloads.values() if w["metadata"]["labels"] == service["selector"])
        assert {port["targetPort"] for port in service["ports"]} <= set(ports_of(selected))


def test_the_ingress_leads_to_ports_of_service_objects(
    manifests: list[Manifest], ingress_routes: dict[str, str]
) -> None:
    with_http = {
        manifest["metadata"]["name"]
        for manifest in manifests
        if manifest["kind"] == "Service"
        and {"name": "http", "port": 8080, "targetPort": "http"} in manifest["spec"]["ports"]
    }
    assert set(ingress_routes.values()) <= with_http


def test_devices_reach_mqtt_from_outside(manifests: list[Manifest]) -> None:
    (balancer,) = (m for m in manifests if m["kind"] == "Service" and m["spec"].get("type") == "LoadBalancer")
    assert balancer["spec"]["selector"] == {"app.kubernetes.io/name": "kpc"}
    assert [port["port"] for port in balancer["spec"]["ports"]] == [1883, 8883]


def test_nats_takes_the_password_that_it_is_given(base: Path, workloads: dict[str, Manifest]) -> None:
    (variable,) = re.findall(r"password: \$(\w+)", (base / "nats.conf").read_text())
    assert [given["name"] for given in container_of(workloads["nats"])["env"]] == [variable]


def test_only_those_who_need_them_reach_nats_and_the_database(manifests: list[Manifest]) -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert callers_of("nats", policies) == set(SERVICE_NAMES)
    keepers = {m["metadata"]["name"] for m in manifests if m["kind"] == "Deployment" and "MONGODB_URI" in yaml.dump(m)}
    assert callers_of("mongo", policies) == keepers


def callers_of(part: str, policies: Mapping[str, Manifest]) -> set[str]:
    assert policies[part]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": part}
    (rule,) = policies[part]["ingress"]
    (caller,) = rule["from"]
    (expression,) = caller["podSelector"]["matchExpressions"]
    return set(expression["values"])


def test_policies_open_every_port_of_the_services_and_no_other(
    manifests: list[Manifest], workloads: dict[str, Manifest]
) -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
    (expression,) = policies["services"]["podSelector"]["matchExpressions"]
    opened = [port["port"] for name in ("services", "kpc-mqtt") for port in policies[name]["ingress"][0]["ports"]]
    assert set(expression["values"]) == set(SERVICE_NAMES)
    assert set(opened) == set(ports_of(workloads["kpc"]))


def test_a_drained_node_takes_one_pod_of_a_service_at_a_time(manifests: list[Manifest]) -> None:
    budgets = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "PodDisruptionBudget"}
    assert budgets.keys() == set(SERVICE_NAMES)
    for service, budget in budgets.items():
        assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": service}}}
