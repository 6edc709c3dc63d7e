"""`kaa run`: any of the services in one process, configured by environment variables."""

from collections.abc import Iterable, Mapping
from importlib import import_module

from kaa_common.service import Service, main


def run(names: Iterable[str], environ: Mapping[str, str]) -> int:
    """Run the services until SIGTERM or SIGINT; the exit code of the process."""
    return main(load_services(dict.fromkeys(names)), environ)


def load_services(names: Iterable[str]) -> list[Service]:
    """The services of these names."""
    return [import_module(f"{name}.app").SERVICE for name in names]
