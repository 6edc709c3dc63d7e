"""`kaa up`: the whole platform on this machine, in one process beside its nats-server.

The services meet on NATS alone, each over a connection of its own, as they would in processes of their own.
What the environment says is kept: NATS_URL and MONGODB_URI replace the embedded parts, every other variable of a
service is passed on.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from kaa_cli import data_folder, development_tls
from kaa_cli.errors import CommandError
from kaa_cli.nats_process import nats_server
from kaa_cli.service_names import SERVICE_NAMES
from kaa_cli.services import load_services
from kaa_common import http_server
from kaa_common.access import hash_api_key
from kaa_common.errors import StartError
from kaa_common.service import Service, run, run_until_signal
from kaa_common.settings import load
from kpc.settings import KpcSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Where the local platform listens, and where it keeps its data."""

    host: str
    http_port: int
    mqtt_port: int
    tls_port: int
    nats_port: int
    data: Path

    @classmethod
    def of(cls, arguments: Namespace) -> Self:
        return cls(
            host=arguments.host,
            http_port=arguments.http_port,
            mqtt_port=arguments.mqtt_port,
            tls_port=arguments.tls_port,
            nats_port=arguments.nats_port,
            data=arguments.data.resolve(),
        )


def up(options: StackOptions, environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; the exit code of the process."""
    services = load_services(SERVICE_NAMES)
    try:
        with data_folder.locked(options.data):
            variables = service_environ(options, environ)
            return run_until_signal(variables, lambda stop: _run(services, options, variables, stop))
    except StartError as exc:
        raise CommandError(str(exc)) from exc


def service_environ(options: StackOptions, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that the services of the stack are configured with; makes secrets and certificates on first use."""
    admin_hash = hash_api_key(data_folder.admin_key(options.data))
    tls_files = development_tls.server_files(options.data)
    return {
        "KPC_TLS_ENABLED": "true",
        "KPC_TLS_CERTIFICATE_FILE": str(tls_files.certificate),
        "KPC_TLS_KEY_FILE": str(tls_files.key),
        "KPC_WS_ENABLED": "true",
        "CREDS_TOKEN_KEYS": data_folder.token_keys(options.data),
        "KAA_DATA_DIR": str(options.data / "data"),
        **{name: value for name, value in environ.items() if value},
        "KAA_API_KEY_HASHES": ",".join(filter(None, (environ.get("KAA_API_KEY_HASHES"), admin_hash))),
        "KAA_HTTP_HOST": options.host,
        "KAA_HTTP_PORT": str(options.http_port),
        "KPC_MQTT_HOST": options.host,
        "KPC_MQTT_PORT": str(options.mqtt_port),
        "KPC_TLS_HOST": options.host,
        "KPC_TLS_PORT": str(options.tls_port),
    }


async def _run(services: list[Service], options: StackOptions, environ: Mapping[str, str], stop: asyncio.Event) -> None:
    _check_ports(options, load(KpcSettings, environ, "KPC_"))
    async with AsyncExitStack() as parts:
        if not environ.get("NATS_URL"):
            nats_url = await parts.enter_async_context(nats_server(options.data, options.nats_port))
            environ = {**environ, "NATS_URL": nats_url}
        await run(services, environ, stop, lambda: print(banner(options, environ), flush=True))


def _check_ports(options: StackOptions, kpc: KpcSettings) -> None:
    """Find a port that is taken before anything is started. Raises StartError."""
    ports = {
        "KAA_HTTP_PORT": options.http_port,
        **({"KPC_MQTT_PORT": options.mqtt_port} if kpc.mqtt_enabled else {}),
        **({"KPC_TLS_PORT": options.tls_port} if kpc.tls_enabled else {}),
    }
    for variable, port in ports.items():
        http_server.bind(options.host, port, variable).close()


def banner(options: StackOptions, environ: Mapping[str, str]) -> str:
    """What the user is told when everything works."""
    nats = urlsplit(environ["NATS_URL"])
    activate = Path(sys.prefix, "bin", "activate")
    return f"""
The platform is ready.

  HTTP     http://{options.host}:{options.http_port}   REST below /tekton, /epr, /cm, /ccm, /kpc; devices below /kp1
  MQTT     mqtt://{options.host}:{options.mqtt_port}, ws://{options.host}:{options.http_port}/ws
  MQTT/TLS mqtts://{options.host}:{options.tls_port}   trust {options.data / development_tls.CA_FILE}
  NATS     {nats.scheme}://{nats.netloc.rpartition("@")[2]}
  data     {options.data}
  API key  {data_folder.admin_key(options.data)}   (kept in {options.data / data_folder.ADMIN_KEY})

Next, in another terminal:

  . "{activate}"
  kaa app create --name weather --display-name "Weather"

README.md goes on from there. Ctrl-C stops everything.
"""
