import asyncio
import os
import signal
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from kaa_cli.nats_process import nats_server
from kaa_common.errors import StartError
from support.ports import free_port


async def test_the_server_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with nats_server(tmp_path, free_port()) as url:
        client = await nats.connect(url)
        await client.close()
        pid = int((tmp_path / "nats.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (tmp_path / "nats.pid").exists()


async def test_a_pid_file_that_names_another_process_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "nats.pid").write_text(str(os.getpid()))
    async with nats_server(tmp_path, free_port()):
        assert (tmp_path / "nats.pid").read_text() != str(os.getpid())


@pytest.mark.parametrize("content", ["", "not a number"])
async def test_a_pid_file_that_a_crash_spoiled_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / "nats.pid").write_text(content)
    async with nats_server(tmp_path, free_port()):
        pass


@pytest.mark.parametrize("file", ["nats.pid", "nats.conf"])
async def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, file: str) -> None:
    (tmp_path / file).mkdir()
    with pytest.raises(StartError, match=rf"cannot .*{file}"):
        async with nats_server(tmp_path, free_port()):
            pass


async def test_a_server_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "nats.log").mkdir()
    with pytest.raises(ExceptionGroup) as group:
        async with nats_server(tmp_path, free_port()):
            pass
    (error,) = group.value.exceptions
    assert isinstance(error, StartError)
    assert "nats.log" in str(error)


async def test_its_streams_outlive_that_it_is_killed_and_that_it_ends(tmp_path: Path) -> None:
    port = free_port()
    async with nats_server(tmp_path, port) as url:
        client = await nats.connect(url, reconnect_time_wait=0.1)
        await client.jetstream().add_stream(name="kept", subjects=["kept"])
        await client.jetstream().publish("kept", b"1")
        os.kill(int((tmp_path / "nats.pid").read_text()), signal.SIGKILL)
        async with asyncio.timeout(10):
            while not await _publishes(client, b"2"):
                await asyncio.sleep(0.05)
        await client.close()
    async with nats_server(tmp_path, port) as url:
        client = await nats.connect(url)
        assert (await client.jetstream().stream_info("kept")).state.messages == 2
        await client.close()


async def _publishes(client: Client, data: bytes) -> bool:
    try:
        await client.jetstream().publish("kept", data, timeout=1, headers={"Nats-Msg-Id": data.decode()})
    except (NatsError, OSError):
        return False
    return True
