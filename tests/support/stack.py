"""The platform for end-to-end tests, on free ports, in a folder of its own.

`Stack` is `kaa up`. `SeparateStack` is one `kaa run` a service beside a nats-server of its own, for tests that stop,
kill and restart one part under the others. `EdgeStack` is that with two of them: kpc, and all that is behind it.

    with running_stack(directory) as stack:
        httpx.get(f"{stack.http_url}/epr/api/v1/endpoints", headers=stack.headers)
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from kaa_cli import development_tls
from kaa_common.access import hash_api_key
from support.nats_server import NatsServer
from support.ports import free_port
from support.process import ChildProcess

KAA = (sys.executable, "-m", "kaa_cli")
SERVICE_PREFIXES = {"tekton": "tekton", "creds": "cm", "epr": "epr", "kpc": "kp1"}
"""Where each service is below the URL of its process."""
TEST_API_KEY = "an-api-key-for-tests"
EACH_ALONE: Mapping[str, Sequence[str]] = {name: (name,) for name in SERVICE_PREFIXES}
REST_PREFIXES = ("tekton", "cm", "ccm", "epr")
"""All but those of kpc."""
EDGE = "kpc"
EDGE_AND_THE_REST: Mapping[str, Sequence[str]] = {"rest": ("tekton", "creds", "epr", "tsx"), EDGE: (EDGE,)}


class Stack(ChildProcess):
    """`kaa up` on free ports. Its data outlives a stop or a kill, for the next start."""

    def __init__(self, directory: Path, environ: Mapping[str, str] | None = None) -> None:
        self.data_dir = directory / ".kaa"
        self.mqtt_port = free_port()
        self.tls_port = free_port()
        self.nats_port = free_port()
        http_port = free_port()
        command = [*KAA, "up", "--data", str(self.data_dir), "--http-port", str(http_port)]
        command += ["--mqtt-port", str(self.mqtt_port), "--tls-port", str(self.tls_port)]
        command += ["--nats-port", str(self.nats_port)]
        super().__init__(command, environ or {}, directory / "kaa-up.log", http_port)

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.nats_port}"

    @property
    def api_key(self) -> str:
        return (self.data_dir / "admin.key").read_text().strip()

    @property
    def ca_file(self) -> Path:
        """What TLS clients trust."""
        return self.data_dir / "tls" / "ca.pem"

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key}

    @property
    def nats_pid(self) -> int:
        """0 while nats-server is writing it."""
        return int((self.data_dir / "nats.pid").read_text() or 0)

    @property
    def pids(self) -> list[int]:
        """All that a device may wait for."""
        return [self.nats_pid, self.pid]

    def end_nats(self) -> None:
        """End the nats-server that a killed stack has left behind."""
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.nats_pid, signal.SIGKILL)


class SeparateStack:
    """A process for each service, or for some together, and one for NATS. Each can be stopped, killed and started."""

    api_key = TEST_API_KEY
    headers: Mapping[str, str] = {"X-API-Key": TEST_API_KEY}

    def __init__(
        self,
        directory: Path,
        environ: Mapping[str, str] | None = None,
        processes: Mapping[str, Sequence[str]] = EACH_ALONE,
    ) -> None:
        self.data_dir = directory / "data"
        self.nats = NatsServer(directory)
        self.nats_url = self.nats.url
        self.mqtt_port = free_port()
        self._directory = directory
        self._environ = {
            "NATS_URL": self.nats.url,
            "KAA_API_KEY_HASHES": hash_api_key(TEST_API_KEY),
            "KAA_DATA_DIR": str(self.data_dir),
            "CREDS_TOKEN_KEYS": f"test:{'5a' * 32}",
            "KPC_MQTT_PORT": str(self.mqtt_port),
            **(environ or {}),
        }
        self.services = {name: self.process_of(*services) for name, services in processes.items()}

    def process_of(self, *names: str, environ: Mapping[str, str] | None = None) -> ChildProcess:
        """A process of these services, not started: one more replica when `environ` gives it another port."""
        http_port = free_port()
        variables = {**self._environ, "KAA_HTTP_PORT": str(http_port), **(environ or {})}
        log = self._directory / f"{'-'.join(names)}-{http_port}.log"
        return ChildProcess([*KAA, "run", *names], variables, log, http_port)

    def url_of(self, service: str) -> str:
        """Where a service's process answers; the paths below it are those of the whole platform."""
        return self.services[service].http_url

    def start(self) -> None:
        """Return when every part is ready."""
        self.nats.start()
        for service in self.services.values():
            service.start(wait=False)
        for service in self.services.values():
            service.wait_ready()

    def stop(self) -> None:
        for service in reversed(self.services.values()):
            service.stop()
        self.nats.stop()

    def kill(self) -> None:
        for service in self.services.values():
            service.kill()
        self.nats.kill()


class EdgeStack(SeparateStack):
    """As it is run for many devices: kpc, with all transports, has a process of its own. The others share one."""

    def __init__(self, directory: Path, environ: Mapping[str, str] | None = None) -> None:
        self.tls_port = free_port()
        self.ca_file = directory / development_tls.CA_FILE
        tls_files = development_tls.server_files(directory)
        transports = {
            "KPC_WS_ENABLED": "true",
            "KPC_TLS_ENABLED": "true",
            "KPC_TLS_PORT": str(self.tls_port),
            "KPC_TLS_CERTIFICATE_FILE": str(tls_files.certificate),
            "KPC_TLS_KEY_FILE": str(tls_files.key),
        }
        super().__init__(directory, {**transports, **(environ or {})}, EDGE_AND_THE_REST)
        self.edge = self.services[EDGE]
        self.http_port = self.edge.http_port
        self.http_url = self.edge.http_url

    @property
    def pids(self) -> list[int]:
        """All that a device may wait for; none where one of them, a database, is not ours."""
        if "MONGODB_URI" in self._environ:
            return []
        return [self.nats.pid, *(process.pid for process in self.services.values())]

    def is_ready(self) -> bool:
        return all(process.is_ready() for process in self.services.values())

    def output(self) -> str:
        """All that the services have printed and logged."""
        return "".join(process.output() for process in self.services.values())

    def rest(self, timeout: float) -> httpx.Client:
        """A client that may do everything, at the one address that an ingress would make of the processes."""
        transport = _Ingress(self.http_port, dict.fromkeys(REST_PREFIXES, self.services["rest"].http_port))
        return httpx.Client(base_url=self.http_url, headers=self.headers, timeout=timeout, transport=transport)


class _Ingress(httpx.HTTPTransport):
    """Sends a request to the port for the first segment of its path, or else to the usual one."""

    def __init__(self, usual_port: int, ports: Mapping[str, int]) -> None:
        super().__init__()
        self._usual_port = usual_port
        self._ports = ports

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        prefix = request.url.path.split("/")[1]
        request.url = request.url.copy_with(port=self._ports.get(prefix, self._usual_port))
        return super().handle_request(request)


@contextmanager
def running_stack(directory: Path, environ: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack that is ready; stopped at the end."""
    stack = Stack(directory, environ)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
        stack.end_nats()


@contextmanager
def running_separate_stack(directory: Path, environ: Mapping[str, str] | None = None) -> Iterator[SeparateStack]:
    """A separate stack that is ready; killed at the end."""
    stack = SeparateStack(directory, environ)
    try:
        stack.start()
        yield stack
    finally:
        stack.kill()


@contextmanager
def running_edge_stack(directory: Path, environ: Mapping[str, str] | None = None) -> Iterator[EdgeStack]:
    """An edge stack that is ready; killed at the end."""
    stack = EdgeStack(directory, environ)
    try:
        stack.start()
        yield stack
    finally:
        stack.kill()
