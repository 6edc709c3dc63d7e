from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE

import pytest

from kaa_cli.data_folder import admin_key, locked, token_keys
from kaa_common.errors import StartError


def test_the_secrets_are_made_once(tmp_path: Path) -> None:
    with locked(tmp_path):
        first = admin_key(tmp_path), token_keys(tmp_path)
        assert (admin_key(tmp_path), token_keys(tmp_path)) == first
    assert first[0] != first[1]
    assert len(first[0]) >= 32


def test_the_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with locked(folder):
        admin_key(folder)
        token_keys(folder)
    assert S_IMODE(folder.stat().st_mode) == 0o700
    assert S_IMODE((folder / "admin.key").stat().st_mode) == 0o600
    assert S_IMODE((folder / "token.keys").stat().st_mode) == 0o600


def test_a_draft_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "admin.new").write_text("half")
    with locked(tmp_path):
        assert admin_key(tmp_path) != "half"


@pytest.mark.parametrize(("file", "secret"), [("admin.key", admin_key), ("token.keys", token_keys)])
@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_is_one_sentence_and_is_not_replaced(
    tmp_path: Path, file: str, secret: Callable[[Path], str], content: bytes
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(StartError, match=rf"{file}.*or delete it, and "):
        secret(tmp_path)
    assert (tmp_path / file).read_bytes() == content


def test_a_folder_in_the_place_of_a_secret_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "admin.key").mkdir()
    with pytest.raises(StartError, match=r"cannot use .*admin.key"):
        admin_key(tmp_path)


def test_a_folder_has_one_stack_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StartError, match="a stack is running"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="choose another folder with --data"), locked(tmp_path / "file" / "below"):
        pass
