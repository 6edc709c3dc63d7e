"""docs/devices.md, followed to the letter: its snippets print what it says, its errors are those of the platform.

The device of the document is registered in a platform of the test's own, with the very token. Only ports are replaced:
those of the text are the defaults. What needs a tool that is not installed is skipped; npm brings MQTT.js.
"""

import asyncio
import json
import os
import queue
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from kaa_cli.main import parser
from kaa_common import extension
from kaa_common.bus import connect
from kaa_common.rpc import Rpc
from support.process import clean_environ
from support.stack import Stack, running_stack

DOCUMENT = (Path(__file__).parents[1] / "docs" / "devices.md").read_text()
BLOCK = re.compile(r"^```(sh|python|js|cpp)\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
APPLICATION, SUFFIX, ENDPOINT, TOKEN = "weather", "v1", "station-1", "R5Jq8wZt2m"
APP_VERSION = f"{APPLICATION}-{SUFFIX}"
COMMAND = b'[{"id":1,"payload":{}}]'
PATIENCE = 30
"""Seconds: far more than anything takes here."""
FIXED_HEADER = 5
"""Bytes that PubSubClient sets aside for the fixed header of a packet, in the same buffer."""

needs_mosquitto = pytest.mark.skipif(shutil.which("mosquitto_rr") is None, reason="mosquitto-clients is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def blocks(title: str) -> list[tuple[str, str, str]]:
    """The language of each snippet of a section, the snippet, and what it prints."""
    _, found, rest = DOCUMENT.partition(f"\n## {title}\n")
    assert found, f"there is no section {title}"
    return BLOCK.findall(rest.partition("\n## ")[0])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A platform that knows the device of the document, and serves devices of an extension that pushes."""
    environ = {"KPC_EXTENSIONS": "epmx,tsx:unaware,cex"}
    with running_stack(tmp_path_factory.mktemp("stack"), environ) as running:
        with httpx.Client(base_url=running.http_url, headers=running.headers, trust_env=False) as rest:
            rest.post("/tekton/api/v1/applications", json={"name": APPLICATION}).raise_for_status()
            versions = f"/tekton/api/v1/applications/{APPLICATION}/app-versions"
            rest.post(versions, json={"nameSuffix": SUFFIX}).raise_for_status()
            body = {
                "appVersion": {"name": APP_VERSION},
                "endpointId": ENDPOINT,
                "endpointToken": TOKEN,
                "metadata": {"description": "Weather station"},
            }
            rest.post("/epr/api/v1/endpoints", json=body).raise_for_status()
        yield running


def with_ports(snippet: str, stack: Stack) -> str:
    ports = {8080: stack.http_port, 1883: stack.mqtt_port, 8883: stack.tls_port}
    return re.sub(r"\b(8080|1883|8883)\b", lambda port: str(ports[int(port[0])]), snippet)


def run(language: str, snippet: str, stack: Stack, folder: Path) -> str:
    """What the snippet prints; fails when it does."""
    commands = {"sh": ["bash", "-e", "-o", "pipefail", "-c"], "python": [sys.executable, "-c"], "js": ["node", "-e"]}
    environ = {**clean_environ(), "KAA_URL": stack.http_url, "KAA_API_KEY": stack.api_key}
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
    ended = subprocess.run(
        [*commands[language], with_ports(snippet, stack)],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, f"{snippet}\n{ended.stdout}"
    return ended.stdout


def assert_prints(expected: str, printed: str) -> None:
    assert OutputChecker().check_output(expected, printed, ELLIPSIS), f"printed\n\n{printed}\ninstead of\n\n{expected}"


@needs_curl
def test_the_curl_snippets_print_what_they_should(stack: Stack, tmp_path: Path) -> None:
    ((language, snippet, expected),) = blocks("curl")
    assert_prints(expected, run(language, snippet, stack, tmp_path))


@needs_mosquitto
async def test_the_mosquitto_snippets_print_what_they_should(stack: Stack, tmp_path: Path) -> None:
    (language, asking, expected), (_, listening, expected_push) = blocks("mosquitto")
    assert_prints(expected, await asyncio.to_thread(run, language, asking, stack, tmp_path))
    async with connect(stack.nats_url, "test") as bus:
        rpc = Rpc(bus, "test-cex")
        await rpc.start()
        async with asyncio.TaskGroup() as tasks:
            pushing = tasks.create_task(push_commands(rpc))
            printed = await asyncio.to_thread(run, language, listening, stack, tmp_path)
            pushing.cancel()
    assert_prints(expected_push, printed)


async def push_commands(rpc: Rpc) -> None:
    """Again and again, as an extension does whose device may not be there yet."""
    while True:
        await extension.push(
            rpc,
            "kpc",
            instance="cex",
            app_version_name=APP_VERSION,
            endpoint_id=ENDPOINT,
            resource_path="/command/reboot",
            payload=COMMAND,
        )
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", range(2), ids=["MQTT 3.1.1", "MQTT 5"])
def test_the_python_snippets_print_what_they_should(stack: Stack, tmp_path: Path, number: int) -> None:
    language, snippet, expected = blocks("Python")[number]
    assert_prints(expected, run(language, snippet, stack, tmp_path))


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:1883", "ws://127.0.0.1:8080/ws"])
def test_the_node_snippet_prints_what_it_should(
    stack: Stack, tmp_path: Path, mqtt_js: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("NODE_PATH", str(mqtt_js))
    ((language, snippet, expected),) = blocks("Node")
    assert url in snippet
    chosen = re.sub("(?m)^const url = '[^']+'", f"const url = '{url}'", snippet)
    assert_prints(expected, run(language, chosen, stack, tmp_path))


@needs_curl
@needs_mosquitto
def test_the_snippets_for_tls_and_credentials_follow_each_other(stack: Stack, tmp_path: Path) -> None:
    snippets = blocks("TLS and client credentials")
    assert [language for language, _, _ in snippets] == ["sh", "sh", "sh", "python"]
    for language, snippet, expected in snippets:
        printed = run(language, snippet, stack, tmp_path)
        if expected:
            assert_prints(expected, printed)


def test_the_requests_of_the_arduino_sketch_are_answered_within_its_buffer(stack: Stack) -> None:
    ((_, sketch, _),) = blocks("Arduino")
    macros = dict(re.findall(r'#define (\w+) "(.*)"', sketch))
    requests = [
        (macros[macro] + rest, json.loads(f'"{payload}"'))
        for macro, rest, payload in re.findall(r'mqtt\.publish\((\w+) "([^"]*)", "((?:\\"|[^"])*)"\)', sketch)
    ]
    assert len(requests) == sketch.count("mqtt.publish(") == 3
    (buffer,) = map(int, re.findall(r"setBufferSize\((\d+)\)", sketch))
    answered_topic = re.findall(r'where == (\w+) "([^"]*)"', sketch)
    assert [macros[macro] + rest for macro, rest in answered_topic] == [f"{requests[0][0]}/status"]

    messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda client, userdata, message: messages.put(message)
    client.connect("127.0.0.1", stack.mqtt_port)
    client.loop_start()
    for topic, payload in requests:
        client.publish(topic, payload)
        answer = messages.get(timeout=PATIENCE)
        assert answer.topic == f"{topic}/status"
        for sent_topic, sent_payload in ((topic, payload.encode()), (answer.topic, answer.payload)):
            assert FIXED_HEADER + 2 + len(sent_topic) + 2 + len(sent_payload) <= buffer
    client.disconnect()
    client.loop_stop()


def error_rows() -> list[tuple[int, str]]:
    """Status code and reason phrases of each row of the table of errors."""
    section = DOCUMENT.partition("\n## Errors\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d, ]+) \| (.*?) \|", section, re.MULTILINE)
    return [(int(code), phrases) for codes, phrases in rows for code in codes.split(", ")]


DEVICE = f"kp1/{APP_VERSION}/epmx/{TOKEN}"
PROVOKED = [
    ("kp1/weather-v1", b"", 400),
    (f"kp1/{APP_VERSION}/tsx/1", b"", 400),
    (f"{DEVICE}//get", b"", 400),
    (f"{DEVICE}/get{'/a' * 32}", b"", 400),
    (f"{DEVICE}/get/{'a' * 1024}", b"", 400),
    (f"{DEVICE}/get/2147483648", b"", 400),
    (f"kp1/{APP_VERSION}/epmx/unknown/get", b"", 401),
    (f"kp1/{APP_VERSION}/epmx/mal.formed/get", b"", 401),
    (f"kp1/weather-v2/epmx/{TOKEN}/get", b"", 404),
    (f"kp1/{APP_VERSION}/unknown/{TOKEN}/get", b"", 404),
    (f"{DEVICE}/get/all", b"", 404),
    (f"{DEVICE}/update", b" " * 262145, 413),
    (f"{DEVICE}/update", json.dumps(dict.fromkeys(map(str, range(513)))).encode(), 413),
]
"""Requests that are refused: the path, the payload and the status code."""


@pytest.mark.parametrize(("path", "payload", "status_code"), PROVOKED)
def test_a_refusal_is_explained_by_the_table_of_errors(
    stack: Stack, path: str, payload: bytes, status_code: int
) -> None:
    answer = httpx.post(f"{stack.http_url}/{path}", content=payload, trust_env=False)
    assert answer.status_code == answer.json()["statusCode"] == status_code
    reason = answer.json()["reasonPhrase"]
    explained = [phrase for code, phrases in error_rows() if code == status_code for phrase in quoted(phrases)]
    assert any(phrase.search(reason) for phrase in explained), reason


def quoted(phrases: str) -> list[re.Pattern[str]]:
    """The reason phrases in backquotes, `...` standing for anything."""
    return [
        re.compile("^" + ".*".join(map(re.escape, phrase.split("..."))) + "$")
        for phrase in re.findall(r"`([^`]+)`", phrases)
    ]


def test_the_table_of_errors_has_every_status_code_of_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "services" / "kpc" / "README.md").read_text()
    table = readme.partition("| status | when |")[2].partition("\n\n")[0]
    codes = {code for row in re.findall(r"(?m)^\| ([\d, ]+) \|", table) for code in map(int, row.split(","))}
    assert codes
    assert codes <= {code for code, _ in error_rows()}


@pytest.mark.parametrize("resource", ["get", "get/keys", "update", "update/keys", "delete/keys"])
def test_the_payloads_and_answers_of_the_table_of_paths_are_right(stack: Stack, resource: str) -> None:
    rows = re.findall(r"^\| [^|]+ \| `epmx/<token>/([^`]+)` \| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
    ((payloads, answer),) = [(payloads, answer) for name, payloads, answer in rows if name == resource]
    version = f"{stack.http_url}/kp1/{APP_VERSION}"
    with httpx.Client(headers=stack.headers, trust_env=False) as client:
        body = {"appVersion": {"name": APP_VERSION}, "metadata": {"model": "BFG 9000"}}
        registered = client.post(f"{stack.http_url}/epr/api/v1/endpoints", json=body).raise_for_status().json()
        for payload in re.findall(r"`([^`]+)`", payloads) or [""]:
            told = client.post(f"{version}/epmx/{registered['token']}/{resource}", content=payload)
            assert (told.status_code, told.text) == (200, "" if answer == "empty" else answer.strip("`"))


def test_the_ports_of_the_document_are_the_defaults() -> None:
    options = parser({}).parse_args(["up"])
    assert (options.http_port, options.mqtt_port, options.tls_port) == (8080, 1883, 8883)
