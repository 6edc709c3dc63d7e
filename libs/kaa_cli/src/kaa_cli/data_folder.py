"""What a local stack keeps between two runs: its lock, its secrets, its documents.

    .kaa/lock        held while a stack runs on the folder
    .kaa/admin.key   API key of the REST interfaces
    .kaa/token.keys  secret that the hashes of endpoint tokens are keyed with; without it no device gets in any more
    .kaa/tls/        certificates for MQTT over TLS (`development_tls`)
    .kaa/data/       the documents, one SQLite file a service
    .kaa/nats/       the streams of nats-server: events, for whoever asks later
    .kaa/nats.*      process id, configuration and log of nats-server

Secrets are written once, readable for their owner alone.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kaa_common.errors import StartError

FOLDER = ".kaa"
ADMIN_KEY = "admin.key"
TOKEN_KEYS = "token.keys"  # noqa: S105 # the name of a file


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and keep every other stack out of it. Raises StartError with a sentence for the operator."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as exc:
        raise StartError(f"cannot use {folder} for data: {exc.strerror}; choose another folder with --data") from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise StartError(f"a stack is running on {folder} already; stop it, or choose another --data") from exc
        yield


def admin_key(folder: Path) -> str:
    """The API key of the folder's stack, made on first use."""
    return _kept_secret(folder / ADMIN_KEY, "another key is made", lambda: secrets.token_urlsafe(32))


def token_keys(folder: Path) -> str:
    """`<key id>:<secret>`, made on first use."""
    loss = "every device needs a new token"
    return _kept_secret(folder / TOKEN_KEYS, loss, lambda: f"local:{secrets.token_hex(32)}")


def _kept_secret(file: Path, loss: str, make: Callable[[], str]) -> str:
    """The secret in the file; `loss` is what follows when it is made again. Raises StartError."""
    try:
        secret = file.read_text().strip() if file.exists() else _keep(file, make())
    except OSError as exc:
        raise StartError(f"cannot use {file}: {exc.strerror}; put it right, or delete it, and {loss}") from exc
    except UnicodeDecodeError as exc:
        raise StartError(f"cannot use {file}: it is no text; put its secret back, or delete it, and {loss}") from exc
    if not secret:
        raise StartError(f"{file} is empty; put its secret back, or delete it, and {loss}")
    return secret


def _keep(file: Path, secret: str) -> str:
    # Complete and private from the moment it has its name; the folder is locked, so nobody else writes it.
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as output:
        output.write(f"{secret}\n")
        output.flush()
        os.fsync(output.fileno())
    draft.rename(file)
    return secret
