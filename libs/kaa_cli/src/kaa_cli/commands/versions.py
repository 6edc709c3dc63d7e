"""`kaa version`: the versions of an application, which is what a device belongs to."""

from argparse import Namespace
from typing import Any

from kaa_cli.commands.applications import COLUMNS, DESCRIPTION, DISPLAY_NAME, FIELDS
from kaa_cli.commands.command import Argument, Command, Noun, given
from kaa_cli.rest_client import RestClient, path
from kaa_cli.tables import fields, table

APPLICATION = Argument("application", "name of the application")
NAME = Argument("name", "full name of the version, as in weather-v1")


def application_of(version_name: str) -> str:
    """The application that a version belongs to: `<application>-<suffix>`, the suffix being of a-z and 0-9."""
    return version_name.rpartition("-")[0]


def _path(version_name: str) -> str:
    return path("tekton", "applications", application_of(version_name), "app-versions", version_name)


def _create(client: RestClient, arguments: Namespace) -> Any:
    body = given(nameSuffix=arguments.suffix, displayName=arguments.display_name, description=arguments.description)
    return client.call("POST", path("tekton", "applications", arguments.application, "app-versions"), body=body)


def _list(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", path("tekton", "applications", arguments.application, "app-versions"))


def _show(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", _path(arguments.name))


def _rename(client: RestClient, arguments: Namespace) -> Any:
    return client.call("PATCH", _path(arguments.name), body={"displayName": arguments.display_name})


def _delete(client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", _path(arguments.name))


def _show_version(version: Any) -> str:
    return fields(FIELDS, version)


VERSIONS = Noun(
    "version",
    "versions of an application",
    (
        Command(
            "create",
            "create a version of an application; its name is <application>-<suffix>",
            (APPLICATION, Argument("suffix", "a-z and 0-9"), DISPLAY_NAME, DESCRIPTION),
            _create,
            _show_version,
        ),
        Command("list", "list the versions", (APPLICATION,), _list, lambda answer: table(COLUMNS, answer)),
        Command("show", "show a version", (NAME,), _show, _show_version),
        Command(
            "rename",
            "change the display name of a version",
            (NAME, Argument("display_name", "the new one")),
            _rename,
            _show_version,
        ),
        Command("delete", "delete a version", (NAME,), _delete, lambda _: "deleted"),
    ),
)
