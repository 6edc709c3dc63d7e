"""The platform under faults: a process for each part, on either store.

NATS knows the listener of the tests by a name of its own, and lets it in before the services when it is started again:
those publish at once what was left behind, which nobody could hear otherwise.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.mongo_server import MongoServer
from support.nats_server import NatsServer
from support.ports import free_port
from support.process import ChildProcess
from support.stack import SERVICE_PREFIXES, TEST_API_KEY, SeparateStack

from .fleet import REQUEST_TIMEOUT
from .listener import Listener
from .logs import check_log

TOKEN_TIMEOUT = 1.0
"""Seconds the register waits for a token at most."""
PASSWORD = "password-nobody-logs"


class Platform:
    """Made by `running_platform`; its parts are the services, `nats` and perhaps `database`."""

    def __init__(self, directory: Path, database: MongoServer | None = None) -> None:
        self._directory = directory
        self._nats_port = free_port()
        self._database = database
        self.listener_url = f"nats://listener:{PASSWORD}@127.0.0.1:{self._nats_port}"
        environ = {
            "NATS_URL": f"nats://services:{PASSWORD}@127.0.0.1:{self._nats_port}",
            "KPC_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT),
            "EPR_TOKEN_TIMEOUT": str(TOKEN_TIMEOUT),
        }
        if database is not None:
            environ["MONGODB_URI"] = database.uri
        self.stack = SeparateStack(directory, environ)
        self.stack.nats = self._nats_server("services", "listener")

    @property
    def mqtt_port(self) -> int:
        return self.stack.mqtt_port

    @property
    def parts(self) -> Mapping[str, ChildProcess | NatsServer | MongoServer]:
        database = {} if self._database is None else {"database": self._database}
        return {"nats": self.stack.nats, **self.stack.services, **database}

    @property
    def database(self) -> MongoServer:
        assert self._database is not None, "an embedded one is no part"
        return self._database

    @property
    def services(self) -> Mapping[str, ChildProcess]:
        return self.stack.services

    def url_of(self, path: str) -> str:
        """The URL of a path of the REST interfaces."""
        prefix = path.split("/")[1]
        (service,) = (service for service, served in SERVICE_PREFIXES.items() if served == prefix)
        return f"{self.stack.url_of(service)}{path}"

    async def kill(self, part: str) -> None:
        await asyncio.to_thread(self.parts[part].kill)

    async def start(self, part: str, listener: Listener) -> None:
        """Return when the part that was ended is ready."""
        if part == "nats":
            self.stack.nats = self._nats_server("listener")
        await asyncio.to_thread(self.parts[part].start)
        if part == "nats":
            await listener.until_connected()
            self.stack.nats.reload(_admitting("services", "listener"))

    def check_logs(self) -> None:
        for name, service in self.services.items():
            check_log(name, service.output(), TEST_API_KEY, PASSWORD)

    def _nats_server(self, *users: str) -> NatsServer:
        return NatsServer(self._directory, _admitting(*users), self._nats_port)


def _admitting(*users: str) -> str:
    """The part of NATS's configuration that lets these users in."""
    return f"authorization: {json.dumps({'users': [{'user': user, 'password': PASSWORD} for user in users]})}"


@contextmanager
def running_platform(directory: Path, database: MongoServer | None = None) -> Iterator[Platform]:
    """A running platform. In the end each service has to stop as it should, and to have logged as it may."""
    platform = Platform(directory, database)
    try:
        platform.stack.start()
        yield platform
        for name, service in platform.services.items():
            assert service.stop() == 0, f"{name} did not end in order:\n{service.output()[-2000:]}"
        platform.check_logs()
    finally:
        platform.stack.kill()
