"""`kaa app`: the applications of tekton."""

from argparse import Namespace
from typing import Any

from kaa_cli.commands.command import Argument, Command, Noun, given
from kaa_cli.rest_client import RestClient, path
from kaa_cli.tables import fields, table

FIELDS = {
    "name": "name",
    "display name": "displayName",
    "description": "description",
    "created": "createdDate",
    "updated": "updatedDate",
}
COLUMNS = {"NAME": "name", "DISPLAY NAME": "displayName", "CREATED": "createdDate"}

NAME = Argument("name", "name of the application")
DISPLAY_NAME = Argument("--display-name", "name for people; may change")
DESCRIPTION = Argument("--description", "what it is for")


def show_application(application: Any) -> str:
    versions = application.get("versions")
    parts = [fields(FIELDS, application)]
    if versions:
        parts += ["", table({"VERSION": "name", "DISPLAY NAME": "displayName", "CREATED": "createdDate"}, versions)]
    return "\n".join(parts)


def _create(client: RestClient, arguments: Namespace) -> Any:
    body = given(name=arguments.name, displayName=arguments.display_name, description=arguments.description)
    return client.call("POST", path("tekton", "applications"), body=body)


def _list(client: RestClient, _: Namespace) -> Any:
    return client.call("GET", path("tekton", "applications"))


def _show(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", path("tekton", "applications", arguments.name))


def _rename(client: RestClient, arguments: Namespace) -> Any:
    body = {"displayName": arguments.display_name}
    return client.call("PATCH", path("tekton", "applications", arguments.name), body=body)


def _delete(client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", path("tekton", "applications", arguments.name))


APPLICATIONS = Noun(
    "app",
    "applications",
    (
        Command(
            "create",
            "create an application",
            (
                Argument("--name", "a-z, 0-9, - and _, at most 64 characters; generated when absent"),
                DISPLAY_NAME,
                DESCRIPTION,
            ),
            _create,
            show_application,
        ),
        Command("list", "list the applications", (), _list, lambda answer: table(COLUMNS, answer)),
        Command("show", "show an application and its versions", (NAME,), _show, show_application),
        Command(
            "rename",
            "change the display name of an application",
            (NAME, Argument("display_name", "the new one")),
            _rename,
            show_application,
        ),
        Command("delete", "delete an application that has no versions", (NAME,), _delete, lambda _: "deleted"),
    ),
)
