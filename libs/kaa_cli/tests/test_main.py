import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

import kaa_cli.__main__
from kaa_cli.main import NOUNS, main, parser
from support.process import clean_environ
from support.stack import Stack

Kaa = Callable[..., str]


@pytest.fixture
def kaa(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kaa:
    """Calls the command on the running platform; returns what it printed."""
    monkeypatch.setenv("KAA_URL", stack.http_url)
    monkeypatch.setenv("KAA_API_KEY", stack.api_key)

    def call(*arguments: str, exit_code: int = 0) -> str:
        capsys.readouterr()
        assert main(arguments) == exit_code
        output = capsys.readouterr()
        assert output.err if exit_code else not output.err
        return output.err if exit_code else output.out

    return call


def parsed(kaa: Kaa, *arguments: str) -> Any:
    return json.loads(kaa(*arguments, "--json"))


def test_an_application_from_its_creation_to_its_end(kaa: Kaa) -> None:
    kaa("app", "create", "--name", "life", "--display-name", "Life", "--description", "of an application")
    assert "Life" in kaa("app", "list")
    kaa("app", "rename", "life", "Another")
    shown = parsed(kaa, "app", "show", "life")
    assert (shown["displayName"], shown["description"]) == ("Another", "of an application")
    assert kaa("app", "delete", "life") == "deleted\n"
    assert "life" not in kaa("app", "list")


def test_a_version_from_its_creation_to_its_end(kaa: Kaa) -> None:
    kaa("app", "create", "--name", "two-words")
    assert "two-words-v1" in kaa("version", "create", "two-words", "v1", "--display-name", "First")
    assert "First" in kaa("version", "list", "two-words")
    kaa("version", "rename", "two-words-v1", "Second")
    assert parsed(kaa, "version", "show", "two-words-v1")["displayName"] == "Second"
    assert "two-words-v1" in kaa("app", "show", "two-words")
    kaa("version", "delete", "two-words-v1")
    kaa("app", "delete", "two-words")


def test_metadata_and_the_version_of_an_endpoint(kaa: Kaa) -> None:
    kaa("app", "create", "--name", "twin")
    for suffix in ("v1", "v2"):
        kaa("version", "create", "twin", suffix)
    kaa("endpoint", "create", "twin-v1", "--id", "twin-1", "--metadata", '{"city":"Kyiv"}')
    kaa("endpoint", "create", "twin-v1", "--id", "twin-2")

    assert kaa("endpoint", "set", "twin-1", "level", "18446744073709551615") == "set\n"
    kaa("endpoint", "set", "twin-1", "colour", '"red"')
    assert kaa("endpoint", "get", "twin-1", "level") == "18446744073709551615\n"
    assert parsed(kaa, "endpoint", "get", "twin-1") == {"city": "Kyiv", "level": 2**64 - 1, "colour": "red"}
    assert kaa("endpoint", "unset", "twin-1", "colour") == "deleted\n"
    assert "no metadata" in kaa("endpoint", "get", "twin-1", "colour", exit_code=1)

    assert "(1 of 1)" in kaa("endpoint", "list", "--application", "twin", "--metadata", "city=Kyiv")
    assert "(1 of 1)" in kaa("endpoint", "list", "--application", "twin", "--metadata", "city=^K", "--regex")
    assert "twin-2" in kaa("endpoint", "list", "--text", "twin-2")
    first = parsed(kaa, "endpoint", "list", "--application", "twin", "--limit", "1")
    second = parsed(kaa, "endpoint", "list", "--application", "twin", "--limit", "1", "--after", first["next"])
    assert [page["content"][0]["endpointId"] for page in (first, second)] == ["twin-1", "twin-2"]

    assert "twin-v2" in kaa("endpoint", "app-version", "twin-1", "--version", "twin-v2")
    assert parsed(kaa, "endpoint", "app-version", "twin-1")["name"] == "twin-v2"


def test_a_filter_from_its_preview_to_its_end(kaa: Kaa) -> None:
    kaa("app", "create", "--name", "sieve")
    kaa("version", "create", "sieve", "v1")
    kaa("endpoint", "create", "sieve-v1", "--id", "in", "--metadata", '{"city":"Kyiv"}')
    kaa("endpoint", "create", "sieve-v1", "--id", "out")

    query = '{"metadata.city": "Kyiv"}'
    assert "(1 of 1)" in kaa("filter", "preview", "sieve", query)
    made = parsed(kaa, "filter", "create", "sieve", query, "--name", "Kyiv", "--description", "in Kyiv")
    deadline = time.monotonic() + 20
    while parsed(kaa, "filter", "show", "sieve", made["id"])["status"] != "active":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "(1 of 1)" in kaa("endpoint", "list", "--filter", made["id"])
    assert "Kyiv" in kaa("filter", "list", "sieve", "--name", "Kyiv")
    changed = parsed(kaa, "filter", "update", "sieve", made["id"], "--name", "All", "--query", "{}")
    assert (changed["name"], changed["description"], changed["mongoQuery"]) == ("All", "in Kyiv", {})
    assert kaa("filter", "delete", "sieve", made["id"]) == "deleted\n"
    assert "(0 of 0)" in kaa("filter", "list", "sieve")


def test_an_endpoint_and_its_tokens_from_their_creation_to_their_end(kaa: Kaa) -> None:
    kaa("app", "create", "--name", "ends")
    kaa("version", "create", "ends", "v1")
    metadata = '{"level":18446744073709551615,"text":"ä\\u001b"}'
    assert "t0" in kaa("endpoint", "create", "ends-v1", "--id", "e1", "--token", "t0", "--metadata", metadata)
    assert "(1 of 1)" in kaa("endpoint", "list", "--version", "ends-v1", "--limit", "5")
    assert "18446744073709551615" in kaa("endpoint", "show", "e1")
    assert parsed(kaa, "endpoint", "show", "e1")["metadata"] == {"level": 18446744073709551615, "text": "ä\x1b"}

    created = parsed(kaa, "token", "create", "e1")
    assert created["applicationName"] == "ends"
    assert "(2 of 2)" in kaa("token", "list", "e1")
    assert "(2 of 2)" in kaa("token", "list", "e1", "--status", "Inactive", "--status", "Active")
    assert "(0 of 0)" in kaa("token", "list", "e1", "--status", "Revoked")
    oldest_first = parsed(kaa, "token", "list", "e1", "--order", "ASC")["content"]
    assert oldest_first[1]["endpointTokenId"] == created["endpointTokenId"]
    assert "Inactive" in kaa("token", "show", "e1", created["endpointTokenId"])
    token = ("e1", created["endpointTokenId"])
    assert "cut off on 1 replica" in kaa("token", "suspend", *token)
    assert "Active" in kaa("token", "activate", *token)
    assert "Revoked" in kaa("token", "revoke", *token)
    assert "cut off on 1 replica" in kaa("token", "delete", *token)
    assert "(1 of 1)" in kaa("token", "list", "e1")

    kaa("endpoint", "delete", "e1")
    assert "(0 of 0)" in kaa("endpoint", "list", "--application", "ends")
    kaa("version", "delete", "ends-v1")
    kaa("app", "delete", "ends")


def test_names_are_made_when_none_are_given(kaa: Kaa) -> None:
    name = parsed(kaa, "app", "create")["name"]
    version = parsed(kaa, "version", "create", name, "v1")["name"]
    endpoint = parsed(kaa, "endpoint", "create", version)
    assert endpoint["endpointId"]
    assert endpoint["token"]


def test_an_error_of_the_server_is_one_line(kaa: Kaa) -> None:
    error = kaa("app", "show", "no-such-application", exit_code=1)
    assert error.startswith("kaa: ")
    assert error.count("\n") == 1


def test_an_application_with_versions_is_not_deleted(kaa: Kaa) -> None:
    kaa("app", "create", "--name", "full")
    kaa("version", "create", "full", "v1")
    kaa("app", "delete", "full", exit_code=1)
    assert "full-v1" in kaa("version", "list", "full")


def test_a_wrong_key_is_one_line(kaa: Kaa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAA_API_KEY", "wrong")
    assert kaa("app", "list", exit_code=1) == "kaa: the API key is not valid\n"


@pytest.mark.parametrize("metadata", ["not JSON", "[]", '{"level":18446744073709551616}'])
def test_metadata_that_cannot_be_stored_is_refused_at_once(metadata: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["endpoint", "create", "weather-v1", "--metadata", metadata])
    assert end.value.code == 2
    assert "JSON" in capsys.readouterr().err


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for noun in NOUNS:
        for command in noun.commands:
            with pytest.raises(SystemExit) as end:
                main([noun.name, command.verb, "--help"])
            assert end.value.code == 0
            assert command.help in " ".join(capsys.readouterr().out.split())


def test_variables_are_the_defaults_of_the_options() -> None:
    ports = {"KAA_HTTP_PORT": "1", "KPC_MQTT_PORT": "2", "KPC_TLS_PORT": "5", "KAA_NATS_PORT": "3"}
    options = parser({**ports, "KAA_HTTP_HOST": "::1"}).parse_args(["up", "--http-port", "4"])
    assert (options.http_port, options.mqtt_port, options.nats_port, options.host) == (4, 2, 3, "::1")
    assert options.tls_port == 5


def test_a_missing_package_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tekton.app", None)
    assert main(["run", "tekton"]) == 1
    assert capsys.readouterr().err == "kaa: the Python package tekton.app is not installed; `make setup` installs it\n"


def test_a_ctrl_c_while_the_command_is_loaded_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "kaa_cli.main", Interrupted("kaa_cli.main"))
    assert kaa_cli.__main__.kaa() == 130


def test_it_says_which_version_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert re.fullmatch(r"kaa \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_the_management_commands_do_not_load_the_platform() -> None:
    code = "import sys, kaa_cli.main; sys.exit('uvloop' in sys.modules or 'fastapi' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def run_kaa(*arguments: str, api_key: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**clean_environ(), "KAA_API_KEY": api_key}
    command = [sys.executable, "-m", "kaa_cli", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def demo_options(stack: Stack) -> list[str]:
    ports = {"http": stack.http_port, "mqtt": stack.mqtt_port, "tls": stack.tls_port, "nats": stack.nats_port}
    return [f"--data={stack.data_dir}", *(f"--{name}-port={port}" for name, port in ports.items())]


def test_the_demo_tells_its_story_on_a_running_platform(stack: Stack) -> None:
    told = run_kaa("demo", *demo_options(stack))
    assert told.returncode == 0, told.stderr
    assert '{"description":"Weather station on the roof"}' in told.stdout
    assert "/update/keys/1/status" in told.stdout
    assert '{"statusCode":401' in told.stdout
    assert "Active" in told.stdout
    assert "Starting" not in told.stdout
    assert is_gone(stack, "demo-")


def test_the_demo_starts_a_platform_where_there_is_none_and_stops_it(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    told = run_kaa("demo", *demo_options(stack))
    assert told.returncode == 0, told.stderr
    assert "Starting the platform" in told.stdout
    assert "Stopping the platform" in told.stdout
    assert told.stderr == ""
    assert not stack.is_ready()


def test_the_demo_needs_the_key_of_the_platform_that_runs(stack: Stack, tmp_path: Path) -> None:
    told = run_kaa("demo", *demo_options(stack), "--data", str(tmp_path))
    assert told.returncode == 1
    assert "say with --data where it is" in told.stderr


def test_the_bench_compares_the_three_ways(stack: Stack) -> None:
    options = ["--url", stack.http_url, "--mqtt-port", str(stack.mqtt_port), "--nats-url", stack.nats_url]
    measured = run_kaa("bench", "--seconds", "0.2", *options, api_key=stack.api_key)
    assert measured.returncode == 0, measured.stderr
    assert [line[:24].strip() for line in measured.stdout.splitlines()[2:]] == [
        "NATS request and reply",
        "device over MQTT",
        "device over HTTP",
    ]
    assert is_gone(stack, "bench-")


def is_gone(stack: Stack, prefix: str) -> bool:
    answer = httpx.get(f"{stack.http_url}/tekton/api/v1/applications", headers=stack.headers)
    return all(not application["name"].startswith(prefix) for application in answer.json())
