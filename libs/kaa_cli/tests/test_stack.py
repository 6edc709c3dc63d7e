import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE

import httpx
import pytest

from support.nats_server import NatsServer
from support.process import READY_WITHIN
from support.stack import Stack, running_stack


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def applications(stack: Stack) -> list[str]:
    answer = httpx.get(f"{stack.http_url}/tekton/api/v1/applications", headers=stack.headers)
    assert answer.status_code == 200
    return [application["name"] for application in answer.json()]


def create_application(stack: Stack, name: str) -> None:
    url = f"{stack.http_url}/tekton/api/v1/applications"
    assert httpx.post(url, headers=stack.headers, json={"name": name}).status_code == 201


def test_it_says_where_it_listens_and_what_the_key_is(stack: Stack) -> None:
    printed = stack.output()
    assert f"http://127.0.0.1:{stack.http_port}" in printed
    assert f"mqtt://127.0.0.1:{stack.mqtt_port}, ws://127.0.0.1:{stack.http_port}/ws" in printed
    assert f"mqtts://127.0.0.1:{stack.tls_port}   trust {stack.ca_file}" in printed
    assert f"nats://127.0.0.1:{stack.nats_port}" in printed
    assert stack.api_key in printed


def test_its_key_is_for_its_owner_and_opens_the_interfaces(stack: Stack) -> None:
    assert S_IMODE((stack.data_dir / "admin.key").stat().st_mode) == 0o600
    url = f"{stack.http_url}/tekton/api/v1/applications"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"X-API-Key": stack.api_key}).status_code == 200


def test_a_stop_ends_everything_and_the_next_start_finds_its_data(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        create_application(stack, "kept")
        key, nats_pid = stack.api_key, stack.nats_pid
        assert stack.stop(signal.SIGTERM) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(nats_pid, 0)
        stack.start()
        assert stack.api_key == key
        assert applications(stack) == ["kept"]
        assert stack.stop(signal.SIGINT) == 0
        assert "Traceback" not in stack.output()


def test_a_killed_stack_starts_again_on_the_same_ports(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        create_application(stack, "kept")
        nats_pid = stack.nats_pid
        stack.kill()
        os.kill(nats_pid, 0)  # it was left behind
        stack.start()
        assert stack.nats_pid != nats_pid
        assert applications(stack) == ["kept"]


def test_nats_is_started_again_when_it_dies(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        nats_pid = stack.nats_pid
        os.kill(nats_pid, signal.SIGKILL)
        wait_until(lambda: "it is started again" in stack.output() and stack.nats_pid != nats_pid and stack.is_ready())
        assert stack.output().count("it is started again") == 1
        create_application(stack, "after")
        assert stack.stop() == 0


def test_a_second_stack_on_the_same_data_is_refused_in_one_sentence(stack: Stack, tmp_path: Path) -> None:
    second = Stack(tmp_path)
    second.data_dir.symlink_to(stack.data_dir)
    second.start(wait=False)
    assert second.wait_end() == 1
    assert second.output() == (
        f"kaa: a stack is running on {stack.data_dir} already; stop it, or choose another --data\n"
    )


@pytest.mark.parametrize(
    ("port", "variable"),
    [
        ("http_port", "KAA_HTTP_PORT"),
        ("mqtt_port", "KPC_MQTT_PORT"),
        ("tls_port", "KPC_TLS_PORT"),
        ("nats_port", "KAA_NATS_PORT"),
    ],
)
def test_a_taken_port_is_one_sentence(tmp_path: Path, port: str, variable: str) -> None:
    stack = Stack(tmp_path)
    with socket.create_server(("127.0.0.1", getattr(stack, port))):
        stack.start(wait=False)
        assert stack.wait_end() == 1
    (line,) = stack.output().splitlines()
    assert line.startswith(f"kaa: cannot listen on 127.0.0.1:{getattr(stack, port)}: ")
    assert line.endswith(f"; choose another port with {variable}")
    assert not (stack.data_dir / "nats.pid").exists()


def test_a_nats_server_of_ones_own_is_used_instead(tmp_path: Path) -> None:
    nats = NatsServer(tmp_path)
    nats.start()
    try:
        with running_stack(tmp_path, {"NATS_URL": nats.url}) as stack:
            assert not (stack.data_dir / "nats.pid").exists()
            create_application(stack, "weather")
            assert nats.url in stack.output()
    finally:
        nats.stop()
