"""The `kaa` command: its parser, built from the tables of commands, and the dispatch.

    kaa up | run | demo | bench                  the platform on this machine
    kaa watch                                    events of all services, as they are published
    kaa app | version | endpoint | filter | token VERB    management, over REST, of the platform at KAA_URL
    kaa client basic | x509 VERB

What can go wrong in a way that the user can change is one line on stderr and exit code 1.
"""

import json
import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from kaa_cli.commands.applications import APPLICATIONS
from kaa_cli.commands.clients import CLIENTS
from kaa_cli.commands.command import Command, Group, Noun
from kaa_cli.commands.endpoints import ENDPOINTS
from kaa_cli.commands.filters import FILTERS
from kaa_cli.commands.tokens import TOKENS
from kaa_cli.commands.versions import VERSIONS
from kaa_cli.data_folder import FOLDER
from kaa_cli.errors import CommandError
from kaa_cli.rest_client import RestClient, find_api_key
from kaa_cli.service_names import SERVICE_NAMES

DEFAULT_URL = "http://127.0.0.1:8080"
NOUNS: Sequence[Noun] = (APPLICATIONS, VERSIONS, ENDPOINTS, FILTERS, TOKENS)
GROUPS: Sequence[Group] = (CLIENTS,)

Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code of the process."""
    arguments = parser(os.environ).parse_args(argv)
    try:
        exit_code: int = arguments.run(arguments)
    except CommandError as exc:
        print(f"kaa: {' '.join(str(exc).split())}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as exc:
        print(f"kaa: the Python package {exc.name} is not installed; `make setup` installs it", file=sys.stderr)
        return 1
    return exit_code


def parser(environ: Mapping[str, str]) -> ArgumentParser:
    """The parser; the variables of `environ` are the defaults of the options."""
    whole = ArgumentParser("kaa", description="Run and manage an open Kaa platform.")
    whole.add_argument("--version", action="version", version=f"kaa {version('kaa-cli')}")
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    _add_up(commands, environ)
    _add_run(commands)
    address = _address_options(environ)
    _add_demo(commands, environ)
    _add_bench(commands, environ, address)
    _add_watch(commands, environ)
    for noun in NOUNS:
        _add_noun(commands, noun, address)
    for group in GROUPS:
        nouns = commands.add_parser(group.name, help=f"manage {group.help}").add_subparsers(
            metavar="KIND", required=True
        )
        for noun in group.nouns:
            _add_noun(nouns, noun, address)
    return whole


def _add_up(commands: Commands, environ: Mapping[str, str]) -> None:
    up = commands.add_parser("up", help="run the whole platform on this machine until Ctrl-C")
    _add_stack_options(up, environ)
    up.set_defaults(run=_up)


def _add_stack_options(command: ArgumentParser, environ: Mapping[str, str]) -> None:
    def option(name: str, variable: str, default: str, help_text: str, convert: type = int) -> None:
        command.add_argument(
            name,
            type=convert,
            default=environ.get(variable) or default,
            help=f"{help_text}; default {default}, or the variable {variable}",
        )

    option("--mqtt-port", "KPC_MQTT_PORT", "1883", "port for MQTT")
    option("--tls-port", "KPC_TLS_PORT", "8883", "port for MQTT over TLS")
    option("--http-port", "KAA_HTTP_PORT", "8080", "port for everything HTTP")
    option("--nats-port", "KAA_NATS_PORT", "4222", "port of the local nats-server; not used with NATS_URL")
    option("--host", "KAA_HTTP_HOST", "127.0.0.1", "address to listen on for MQTT and HTTP", str)
    command.add_argument("--data", type=Path, default=FOLDER, help=f"folder for keys and documents; default {FOLDER}")


def _add_run(commands: Commands) -> None:
    run = commands.add_parser("run", help="run some of the services in one process, configured by variables")
    run.add_argument("services", nargs="+", choices=SERVICE_NAMES, metavar="SERVICE", help=", ".join(SERVICE_NAMES))
    run.set_defaults(run=_run)


def _add_demo(commands: Commands, environ: Mapping[str, str]) -> None:
    demo = commands.add_parser("demo", help="connect a device and show every step; starts the platform if needed")
    _add_stack_options(demo, environ)
    demo.set_defaults(run=_demo)


def _add_bench(commands: Commands, environ: Mapping[str, str], address: ArgumentParser) -> None:
    bench = commands.add_parser(
        "bench", parents=[address], help="compare a device's request over MQTT and HTTP with a bare NATS request"
    )
    bench.add_argument("--seconds", type=float, default=5.0, help="how long each is measured; default 5")
    bench.add_argument("--mqtt-port", type=int, default=environ.get("KPC_MQTT_PORT") or "1883", help="default 1883")
    bench.add_argument("--nats-url", default=environ.get("NATS_URL") or "nats://127.0.0.1:4222")
    bench.set_defaults(run=_bench)


def _add_watch(commands: Commands, environ: Mapping[str, str]) -> None:
    watch = commands.add_parser("watch", help="show the events of all services as they are published, until Ctrl-C")
    watch.add_argument("--endpoint", help="only those about this endpoint")
    watch.add_argument("--application", help="only those about this application")
    watch.add_argument("--count", type=int, help="end after so many")
    watch.add_argument("--json", action="store_true", help="print a JSON object for each")
    watch.add_argument("--nats-url", default=environ.get("NATS_URL") or "nats://127.0.0.1:4222")
    watch.set_defaults(run=_watch)


def _address_options(environ: Mapping[str, str]) -> ArgumentParser:
    options = ArgumentParser(add_help=False)
    url = environ.get("KAA_URL") or DEFAULT_URL
    options.add_argument("--url", default=url, help=f"address of the platform; default {DEFAULT_URL}, or KAA_URL")
    return options


def _add_noun(commands: Commands, noun: Noun, address: ArgumentParser) -> None:
    verbs = commands.add_parser(noun.name, help=f"manage {noun.help}").add_subparsers(metavar="VERB", required=True)
    for command in noun.commands:
        _add_command(verbs, command, address)


def _add_command(verbs: Commands, command: Command, address: ArgumentParser) -> None:
    verb = verbs.add_parser(command.verb, parents=[address], help=command.help, description=command.help)
    verb.add_argument("--json", action="store_true", help="print the server's answer as JSON")
    for argument in command.arguments:
        argument.add_to(verb)
    verb.set_defaults(run=lambda arguments: _manage(command, arguments))


def _manage(command: Command, arguments: Namespace) -> int:
    with RestClient(arguments.url, find_api_key(os.environ, Path.cwd())) as client:
        answer = command.execute(client, arguments)
    if not arguments.json:
        print(command.show(answer))
    elif answer is not None:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 0


# The platform's own parts are imported by the commands that run them: the others start in a fraction of the time.


def _up(arguments: Namespace) -> int:
    from kaa_cli.stack import StackOptions, up

    return up(StackOptions.of(arguments), os.environ)


def _run(arguments: Namespace) -> int:
    from kaa_cli.services import run

    return run(arguments.services, os.environ)


def _demo(arguments: Namespace) -> int:
    from kaa_cli.demo import demo
    from kaa_cli.stack import StackOptions

    return demo(StackOptions.of(arguments))


def _bench(arguments: Namespace) -> int:
    from kaa_cli.bench import bench

    with RestClient(arguments.url, find_api_key(os.environ, Path.cwd())) as client:
        return bench(client, arguments.url, arguments.mqtt_port, arguments.nats_url, arguments.seconds)


def _watch(arguments: Namespace) -> int:
    from kaa_cli.watch import Wanted, watch

    wanted = Wanted(endpoint=arguments.endpoint, application=arguments.application)
    return watch(arguments.nats_url, wanted, as_json=arguments.json, count=arguments.count)
