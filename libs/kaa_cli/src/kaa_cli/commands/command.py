"""A management command as a value: a verb of a noun, its arguments, the request it makes, and how its answer is shown.

The parser is built from these values; `execute` returns the server's answer as it came, which `--json` prints
unchanged and `show` turns into text for people.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaa_cli.rest_client import RestClient


@dataclass(frozen=True, slots=True)
class Argument:
    """What `ArgumentParser.add_argument` is given."""

    name: str
    help: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def add_to(self, parser: ArgumentParser) -> None:
        parser.add_argument(self.name, help=self.help, **self.options)


PAGING = (
    Argument("--offset", "index of the first one", {"type": int}),
    Argument("--limit", "at most so many; the server's default is 20", {"type": int}),
)


@dataclass(frozen=True, slots=True)
class Command:
    verb: str
    help: str
    arguments: Sequence[Argument]
    execute: Callable[[RestClient, Namespace], Any]
    show: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Noun:
    """What a group of commands is about."""

    name: str
    help: str
    commands: Sequence[Command]


@dataclass(frozen=True, slots=True)
class Group:
    """Nouns that go by a common name, which stands before theirs."""

    name: str
    help: str
    nouns: Sequence[Noun]


def given(**values: Any) -> dict[str, Any]:
    """A request body of what was given on the command line."""
    return {name: value for name, value in values.items() if value is not None}
