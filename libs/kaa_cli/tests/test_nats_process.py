import os
from pathlib import Path

import nats
import pytest

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


async def test_a_server_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "nats.log").mkdir()
    with pytest.raises(ExceptionGroup) as group:
        async with nats_server(tmp_path, free_port()):
            pass
    (error,) = group.value.exceptions
    assert isinstance(error, StartError)
    assert "nats.log" in str(error)
