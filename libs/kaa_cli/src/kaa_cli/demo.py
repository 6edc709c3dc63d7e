"""`kaa demo`: the story of a first device, told by a real HTTP client and a real MQTT client, step by step.

Uses the platform that runs on the given ports with the given data folder; starts one when there is none, and stops it
at the end. What the story makes has a name of its own and is deleted again, so it can be told twice.
"""

import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from kaa_cli.data_folder import ADMIN_KEY
from kaa_cli.errors import CommandError
from kaa_cli.stack import StackOptions

START_TIMEOUT = 60.0
"""Seconds until a platform that was started must be ready."""
ANSWER_TIMEOUT = 10.0
"""Seconds the device waits for an answer: more than the platform takes to say that it has none."""


def demo(options: StackOptions) -> int:
    """Tell the story; the exit code of the process."""
    url = f"http://{options.host}:{options.http_port}"
    with _platform(options, url):
        api_key = _admin_key(options, url)
        with (
            httpx.Client(base_url=url, headers={"X-API-Key": api_key}, timeout=ANSWER_TIMEOUT) as administrator,
            httpx.Client(base_url=url, timeout=ANSWER_TIMEOUT) as device,
        ):
            _Story(administrator, device, options).tell()
    return 0


class _Story:
    """A device, from its application to its last word."""

    def __init__(self, administrator: httpx.Client, device: httpx.Client, options: StackOptions) -> None:
        self._administrator = administrator
        self._device = device
        self._options = options
        self._app = f"demo-{secrets.token_hex(4)}"
        self._version = f"{self._app}-v1"
        self._endpoint = f"{self._app}-station"
        self._topic = ""

    def tell(self) -> None:
        with ExitStack() as made:
            self._tell(made)

    def _tell(self, made: ExitStack) -> None:
        app = f"/tekton/api/v1/applications/{self._app}"
        version = f"{app}/app-versions/{self._version}"
        endpoint = f"/epr/api/v1/endpoints/{self._endpoint}"

        _title("An administrator makes an application, a version of it, and an endpoint: the device's digital twin")
        self._rest("POST", "/tekton/api/v1/applications", {"name": self._app, "displayName": "Demo"})
        made.callback(self._rest, "DELETE", app)
        self._rest("POST", f"{app}/app-versions", {"nameSuffix": "v1"})
        made.callback(self._rest, "DELETE", version)
        twin = {
            "appVersion": {"name": self._version},
            "endpointId": self._endpoint,
            "metadata": {"description": "Weather station on the roof"},
        }
        token = self._rest("POST", "/epr/api/v1/endpoints", twin)["token"]
        made.callback(self._rest, "DELETE", endpoint)
        made.callback(_title, "All of it is deleted again")
        self._topic = f"kp1/{self._version}/epmx/{token}"

        _title("The device asks what is known of it, over HTTP")
        self._device_http("get", "{}")

        _title("The device reports what it is, over MQTT; it never subscribes, and gets its answers all the same")
        with _Device(self._options) as device:
            device.ask(f"{self._topic}/update/keys/1", '{"model":"BFG 9000","mac":"00-14-22-01-23-45"}')
            device.ask(f"{self._topic}/get/2", "{}")
            device.ask(f"{self._topic}/get/keys/3", "")
            device.ask(f"{self._topic}/delete/keys/4", '["mac"]')

            _title("Mistakes are answered, too, and cost nobody the connection")
            device.ask(f"{self._topic}/update/keys/5", "not JSON")
            device.ask(f"kp1/{self._version}/epmx/no-such-token/get/6", "{}")
            device.ask(f"{self._topic}/get/7", "{}")

        _title("The administrator sees it in the register, and sees that the token has been used")
        self._rest("GET", f"{endpoint}?include=metadata")
        self._rest("GET", f"/cm/api/v1/endpoints/{self._endpoint}/tokens")

    def _rest(self, method: str, path: str, body: Any = None) -> Any:
        return _http_exchange(self._administrator, method, path, None if body is None else json.dumps(body))

    def _device_http(self, resource: str, payload: str) -> None:
        _http_exchange(self._device, "POST", f"/{self._topic}/{resource}", payload)


class _Device:
    """An MQTT client that publishes requests and waits for their answers."""

    def __init__(self, options: StackOptions) -> None:
        self._options = options
        self._answers: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _userdata, message: self._answers.put(message)

    def __enter__(self) -> "_Device":
        try:
            self._client.connect(self._options.host, self._options.mqtt_port)
        except OSError as exc:
            raise CommandError(f"nobody answers on MQTT port {self._options.mqtt_port}: {exc}") from exc
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def ask(self, topic: str, payload: str) -> None:
        _say("MQTT ->", topic, payload)
        self._client.publish(topic, payload, qos=1)
        try:
            answer = self._answers.get(timeout=ANSWER_TIMEOUT)
        except queue.Empty:
            raise CommandError(f"the platform did not answer on {topic}") from None
        _say("MQTT <-", answer.topic, answer.payload.decode() or "(empty)")


def _http_exchange(client: httpx.Client, method: str, path: str, content: str | None) -> Any:
    _say("HTTP ->", f"{method} {path}", content)
    headers = {} if content is None else {"content-type": "application/json"}
    try:
        response = client.request(method, path, content=content, headers=headers)
    except httpx.TransportError as exc:
        raise CommandError(f"the platform does not answer: {exc}") from exc
    _say("HTTP <-", f"{response.status_code} {response.reason_phrase}", response.text)
    if not response.is_success:
        raise CommandError(f"{method} {path} was answered with {response.status_code}")
    return response.json() if response.content else None


@contextmanager
def _platform(options: StackOptions, url: str) -> Iterator[None]:
    """A platform that is ready: the one that runs, else one of our own."""
    if _is_ready(url):
        print(f"Using the platform that runs at {url}.")
        yield
        return
    print("Starting the platform ...", flush=True)
    command = [sys.executable, "-m", "kaa_cli", "up", "--host", options.host, "--data", str(options.data)]
    command += [f"--http-port={options.http_port}", f"--mqtt-port={options.mqtt_port}"]
    command += [f"--tls-port={options.tls_port}", f"--nats-port={options.nats_port}"]
    # What the platform says of itself is no part of the story.
    environ = {"KAA_LOG_LEVEL": "WARNING", **os.environ}
    # A session of its own: Ctrl-C ends the story, and the story ends the platform.
    with subprocess.Popen(  # noqa: S603 # our own command
        command, stdout=subprocess.DEVNULL, env=environ, start_new_session=True
    ) as process:
        try:
            _wait_ready(process, url)
            yield
        finally:
            print("\nStopping the platform ...", flush=True)
            process.send_signal(signal.SIGTERM)


def _admin_key(options: StackOptions, url: str) -> str:
    file = options.data / ADMIN_KEY
    try:
        return file.read_text().strip()
    except OSError as exc:
        message = f"cannot read {file}, the key of the platform at {url}: {exc.strerror}; say with --data where it is"
        raise CommandError(message) from exc


def _wait_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not _is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise CommandError("the platform did not start")
        time.sleep(0.1)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def _title(text: str) -> None:
    print(f"\n== {text}\n", flush=True)


def _say(direction: str, subject: str, content: str | None) -> None:
    print(f"{direction} {subject}")
    if content:
        print(f"        {content}", flush=True)
