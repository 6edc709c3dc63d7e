"""Runs the compose file for real: a device's story through the gateway, every container killed in turn, a clean stop.

    python tests/deploy/run_compose.py

Not one of the tests that pytest finds: it needs Docker, or Podman with podman-compose, and a few minutes.
The installation has a name, ports, secrets and volumes of its own and is removed at the end. PYTHON_IMAGE, NATS_IMAGE,
MONGO_IMAGE and NGINX_IMAGE replace images as in docker-compose.yml; unless KAA_IMAGE names one, the image of the
services is built first.
"""

import json
import os
import queue
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

import httpx
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from kaa_cli.service_names import SERVICE_NAMES

ROOT = Path(__file__).parents[2]
READY_WITHIN = 120.0
"""Seconds from a start to an answer, images at hand."""
STOP_WITHIN = 40.0
"""Seconds until all containers are gone when nothing is in progress: half a second each, compose itself takes more."""


Result = TypeVar("Result")


class Installation:
    """The compose file, running under a project name of its own."""

    def __init__(self, environment_file: Path) -> None:
        self._project = f"kaa-{secrets.token_hex(4)}"
        self.http_port, self.mqtt_port, tls_port = _free_port(), _free_port(), _free_port()
        self._engine, compose = _engine_and_compose()
        self._compose = [*compose, "--project-name", self._project, "--env-file", str(environment_file)]
        ports = {"HTTP_PORT": self.http_port, "MQTT_PORT": self.mqtt_port, "TLS_PORT": tls_port}
        self._environ = os.environ | {name: str(port) for name, port in ports.items()}

    def compose(self, *arguments: str) -> None:
        subprocess.run([*self._compose, *arguments], cwd=ROOT, env=self._environ, check=True)

    def engine(self, *arguments: str) -> str:
        return subprocess.run([self._engine, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def container(self, service: str) -> str:
        """The id of the service's container, running or not."""
        labels = {"com.docker.compose.project": self._project, "com.docker.compose.service": service}
        filters = [f"--filter=label={name}={value}" for name, value in labels.items()]
        return self.engine("ps", "--all", "--quiet", *filters)

    def exit_code(self, service: str) -> int:
        return int(self.engine("inspect", "--format", "{{.State.ExitCode}}", self.container(service)))


class Device:
    """An endpoint, and what its device sends over MQTT and HTTP through the gateway."""

    def __init__(self, installation: Installation, rest: httpx.Client) -> None:
        self._installation = installation
        self._rest = rest
        app = f"app-{secrets.token_hex(4)}"
        self._made("/tekton/api/v1/applications", {"name": app})
        self._version = f"{app}-v1"
        self._made(f"/tekton/api/v1/applications/{app}/app-versions", {"nameSuffix": "v1"})
        endpoint = {"appVersion": {"name": self._version}, "metadata": {"description": "roof"}}
        made = self._made("/epr/api/v1/endpoints", endpoint)
        self._metadata_path = f"/epr/api/v1/endpoints/{made['endpointId']}/metadata"
        self._token = made["token"]

    def update_over_http(self, attribute: str, value: str) -> None:
        response = self._rest.post(self._path("update/keys"), content=json.dumps({attribute: value}))
        response.raise_for_status()

    def update_over_mqtt(self, attribute: str, value: str) -> None:
        answers: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _client, _userdata, message: answers.put(message)
        client.connect("127.0.0.1", self._installation.mqtt_port)
        client.loop_start()
        try:
            topic = self._path("update/keys/42").removeprefix("/")
            client.publish(topic, json.dumps({attribute: value}), qos=1)
            answer = answers.get(timeout=10)
        except queue.Empty:
            raise TimeoutError(f"no answer to {attribute} over MQTT") from None
        finally:
            client.disconnect()
            client.loop_stop()
        if answer.topic != f"{topic}/status":
            raise ConnectionError(answer.payload.decode())

    def metadata(self) -> dict[str, str]:
        response = self._rest.get(self._metadata_path)
        response.raise_for_status()
        metadata: dict[str, str] = response.json()
        return metadata

    def _path(self, resource: str) -> str:
        return f"/kp1/{self._version}/epmx/{self._token}/{resource}"

    def _made(self, path: str, body: Mapping[str, object]) -> dict[str, str]:
        response = self._rest.post(path, json=body)
        response.raise_for_status()
        made: dict[str, str] = response.json()
        return made


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        environment_file = Path(directory) / "env"
        command = ["sh", str(ROOT / "deploy" / "make-env.sh"), str(environment_file)]
        api_key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        installation = Installation(environment_file)
        headers = {"X-API-Key": api_key}
        url = f"http://127.0.0.1:{installation.http_port}"
        try:
            if "KAA_IMAGE" not in os.environ:
                installation.compose("build", SERVICE_NAMES[0])  # the image of all
            with httpx.Client(base_url=url, headers=headers, timeout=10) as rest:
                walk(installation, rest)
        except BaseException:
            installation.compose("logs")
            raise
        finally:
            installation.compose("down", "--volumes")
    return 0


def walk(installation: Installation, rest: httpx.Client) -> None:
    """The whole story. Raises when a part of it does not happen."""
    started = monotonic()
    installation.compose("up", "--detach")
    device = until_it_works(lambda: Device(installation, rest))
    say(f"an endpoint and its token were made {monotonic() - started:.1f} s after the start")
    expected = {"description": "roof", "model": "BFG 9000", "mac": "00-14-22-01-23-45"}
    device.update_over_mqtt("model", "BFG 9000")
    device.update_over_http("mac", "00-14-22-01-23-45")
    check_metadata(device, expected)
    for service in (*SERVICE_NAMES, "nats", "mongo", "gateway"):
        installation.engine("kill", "--signal", "KILL", installation.container(service))
        killed = monotonic()
        installation.engine("start", installation.container(service))
        until_it_works(lambda: Device(installation, rest))
        until_it_works(partial(device.update_over_http, service, "over HTTP"))
        until_it_works(partial(device.update_over_mqtt, service, "over MQTT"))
        expected[service] = "over MQTT"
        check_metadata(device, expected)
        say(f"{service} killed and started again: everything was served after {monotonic() - killed:.1f} s")
    started = monotonic()
    installation.compose("stop")
    stopped_after = monotonic() - started
    exit_codes = {service: installation.exit_code(service) for service in SERVICE_NAMES}
    say(f"all stopped after {stopped_after:.1f} s, exit codes {exit_codes}")
    if any(exit_codes.values()) or stopped_after > STOP_WITHIN:
        raise RuntimeError("the services did not stop as they should")


def until_it_works(attempt: Callable[[], Result]) -> Result:
    """Try again while containers start. Raises what the last attempt raised."""
    deadline = monotonic() + READY_WITHIN
    while True:
        try:
            return attempt()
        except (httpx.HTTPError, OSError):
            if monotonic() > deadline:
                raise
            sleep(0.2)


def check_metadata(device: Device, expected: dict[str, str]) -> None:
    found = device.metadata()
    if found != expected:
        raise RuntimeError(f"the register has {found}, not {expected}")


def say(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201 # for who runs this


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _engine_and_compose() -> tuple[str, list[str]]:
    """The container engine, and the command that reads compose files with it."""
    if shutil.which("docker") and _works("docker", "info") and _works("docker", "compose", "version"):
        return "docker", ["docker", "compose"]
    if shutil.which("podman-compose"):
        return "podman", ["podman-compose"]
    raise RuntimeError("neither docker compose nor podman-compose is here")


def _works(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
