"""The life of a process that runs one or more services.

Start: settings, HTTP port (so that the probes answer), then each service: bus, store, its own parts; then ready.
Stop, on SIGTERM or SIGINT: not ready, HTTP stops accepting and finishes what is in progress, then the services in
reverse order, each taking no more requests from the bus and finishing those it has, then closing its own parts (which
may still publish), its store and its bus; exit code 0.
"""

import asyncio
import gc
import logging
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import uvloop

from kaa_common import bus, http_server, log
from kaa_common.access import Access, BearerTokens
from kaa_common.errors import StartError, Unavailable
from kaa_common.health import Health
from kaa_common.http_server import Gateway
from kaa_common.rpc import Rpc
from kaa_common.settings import Environ, PlatformSettings, load
from kaa_common.store import Collection, DocumentStore, StoreError
from kaa_common.store.sqlite import SqliteStore

logger = logging.getLogger(__name__)

COLLECTED_AFTER: Final = 10_000
"""Objects made beyond those freed until Python looks for garbage in cycles, of which a request leaves none. The 700 of
the default are those of some ten requests in progress: looking took a fifth of the processor's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a running service is given."""

    service: str
    settings: PlatformSettings
    environ: Environ
    rpc: Rpc
    health: Health
    gateway: Gateway
    access: Access

    @asynccontextmanager
    async def store(self, *collections: Collection) -> AsyncIterator[DocumentStore]:
        """The service's document store, with these collections; waits for the database as long as it takes.

        Raises StartError when waiting would not help: a file that is no database, a password that is wrong.
        """
        self.health.expect(self.service, "waiting for the database")
        async with AsyncExitStack() as opened:
            try:
                store = await opened.enter_async_context(self._store())
                await store.ensure(collections)
            except StoreError as exc:
                raise StartError(f"{self.service} has no database: {exc}") from exc
            self.health.expect(self.service)
            self.health.watch(f"{self.service} store", store.ping)
            yield store

    def _store(self) -> DocumentStore:
        uri = self.settings.mongodb_uri
        if uri is not None:
            # Only here: without the driver, a process that needs none starts 0.1 s earlier.
            from kaa_common.store.mongodb import MongoStore

            return MongoStore(uri.get_secret_value(), self.settings.mongodb_database)
        return SqliteStore(self.settings.data_dir / f"{self.service}.db")


@dataclass(frozen=True, slots=True)
class Service:
    """A service as a process runs it: its name, and the context in which it works."""

    name: str
    work: Callable[[Platform], AbstractAsyncContextManager[None]]


def _nothing() -> None:
    pass


async def run(
    services: Sequence[Service], environ: Environ, stop: asyncio.Event, on_ready: Callable[[], None] = _nothing
) -> None:
    """Run services until `stop` is set; `on_ready` is called once all of them work. Raises StartError."""
    settings = load(PlatformSettings, environ)
    health = Health()
    gateway = Gateway(health.routes())
    for service in services:
        health.expect(service.name)
    listener = http_server.bind(settings.http_host, settings.http_port, "KAA_HTTP_PORT")
    serving = http_server.serve(gateway, listener, settings.shutdown_timeout, settings.trusted_proxies)
    async with AsyncExitStack() as running, serving:
        if await _start(services, settings, environ, health, gateway, running, stop):
            logger.info("%s ready on port %d", ", ".join(s.name for s in services), listener.getsockname()[1])
            on_ready()
            await stop.wait()
        health.stopping = True
        logger.info("stopping")
    logger.info("stopped")


async def _start(
    services: Sequence[Service],
    settings: PlatformSettings,
    environ: Environ,
    health: Health,
    gateway: Gateway,
    running: AsyncExitStack,
    stop: asyncio.Event,
) -> bool:
    """Enter every service's context; False when `stop` was set before all were there."""
    async with asyncio.TaskGroup() as tasks:
        try:
            async with asyncio.timeout(None) as interruptible:
                watching = tasks.create_task(_interrupt(interruptible, stop))
                for service in services:
                    await running.enter_async_context(_running(service, settings, environ, health, gateway))
            return True
        except TimeoutError:
            return False
        finally:
            watching.cancel()


async def _interrupt(interruptible: asyncio.Timeout, stop: asyncio.Event) -> None:
    await stop.wait()
    interruptible.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def _running(
    service: Service, settings: PlatformSettings, environ: Environ, health: Health, gateway: Gateway
) -> AsyncIterator[None]:
    health.expect(service.name, "waiting for NATS")
    async with bus.connect(settings.nats_url.get_secret_value(), service.name) as connection:
        health.expect(service.name)
        rpc = Rpc(connection, f"{service.name}-{secrets.token_hex(6)}")
        await rpc.start()

        async def check_bus() -> None:
            if not connection.connected:
                raise Unavailable("not connected to NATS")

        platform = Platform(
            service=service.name,
            settings=settings,
            environ=environ,
            rpc=rpc,
            health=health,
            gateway=gateway,
            access=Access(settings.api_key_hashes, _bearer_tokens(settings)),
        )
        async with service.work(platform):
            health.watch(service.name, check_bus)
            try:
                yield
            finally:
                # While the service still has what its handlers need: they finish, and other replicas take over.
                await connection.leave_queues()


def _bearer_tokens(settings: PlatformSettings) -> BearerTokens | None:
    """Those of the issuer that is configured, if one is."""
    if settings.oidc_issuer is None:
        return None
    # Only here, as the driver of MongoDB: it takes an HTTP client to ask the issuer.
    from kaa_common.oidc import oidc_tokens

    return oidc_tokens(settings)


def main(services: Sequence[Service], environ: Environ) -> int:
    """Run services until SIGTERM or SIGINT; the exit code of the process."""
    return run_until_signal(environ, lambda stop: run(services, environ, stop))


def run_until_signal(environ: Environ, work: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> int:
    """Do work that ends soon after the event is set, which SIGTERM and SIGINT do; the exit code of the process."""
    reasons: list[BaseException] = []
    try:
        settings = load(PlatformSettings, environ)
        log.configure(settings.log_level, settings.log_format)
        _spare_what_stays()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(work))
    except* StartError as group:
        reasons = _leaves(group)
    for reason in reasons:
        print(f"kaa: {reason}", file=sys.stderr)  # noqa: T201 # for the operator, whatever the log level
    return 1 if reasons else 0


def _spare_what_stays() -> None:
    """Let Python not look for garbage again and again among all that was imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER)


async def _with_signals(work: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await work(stop)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for member in error.exceptions for leaf in _leaves(member)]
    return [error]
