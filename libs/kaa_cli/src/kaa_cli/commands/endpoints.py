"""`kaa endpoint`: the digital twins in the endpoint register."""

from argparse import ArgumentTypeError, Namespace
from typing import Any

from kaa_cli.commands.command import PAGING, Argument, Command, Noun, given
from kaa_cli.rest_client import RestClient, path
from kaa_cli.tables import fields, metadata_table, page_table
from kaa_common import jsontext

FIELDS = {
    "endpoint": "endpointId",
    "version": "appVersion.name",
    "created": "createdDate",
    "metadata updated": "metadataUpdatedDate",
}
COLUMNS = {"ENDPOINT": "endpointId", "VERSION": "appVersion.name", "CREATED": "createdDate"}
CREATED = {"endpoint": "endpointId", "token": "token", "token status": "status"}

ID = Argument("endpoint", "id of the endpoint")


def json_object(text: str) -> dict[str, Any]:
    """The JSON object of a command line argument."""
    try:
        value = jsontext.parse(text.encode())
    except jsontext.InvalidJson as exc:
        raise ArgumentTypeError(str(exc)) from exc
    if not isinstance(value, dict):
        raise ArgumentTypeError("a JSON object is expected")
    return value


def _create(client: RestClient, arguments: Namespace) -> Any:
    body = given(
        appVersion={"name": arguments.version},
        endpointId=arguments.id,
        endpointToken=arguments.token,
        metadata=arguments.metadata,
    )
    return client.call("POST", path("epr", "endpoints"), body=body)


def _list(client: RestClient, arguments: Namespace) -> Any:
    params = given(
        applicationName=arguments.application,
        applicationVersionName=arguments.version,
        offset=arguments.offset,
        limit=arguments.limit,
    )
    return client.call("GET", path("epr", "endpoints"), params=params)


def _show(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", path("epr", "endpoints", arguments.endpoint), params={"include": "metadata"})


def _delete(client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", path("epr", "endpoints", arguments.endpoint))


def _show_created(answer: Any) -> str:
    return fields(CREATED, answer) + "\nKeep the token: it is shown only now."


def _show_endpoint(endpoint: Any) -> str:
    metadata = endpoint.get("metadata")
    parts = [fields(FIELDS, endpoint)]
    if metadata:
        parts += ["metadata", metadata_table(metadata)]
    return "\n".join(parts)


ENDPOINTS = Noun(
    "endpoint",
    "endpoints: the devices' digital twins",
    (
        Command(
            "create",
            "register an endpoint and make its token",
            (
                Argument("version", "application version it belongs to, as in weather-v1"),
                Argument("--id", "its id; generated when absent"),
                Argument("--token", "its token; generated when absent"),
                Argument("--metadata", "its attributes, a JSON object", {"type": json_object}),
            ),
            _create,
            _show_created,
        ),
        Command(
            "list",
            "list endpoints",
            (
                Argument("--application", "only those of this application"),
                Argument("--version", "only those of this application version"),
                *PAGING,
            ),
            _list,
            lambda answer: page_table(COLUMNS, answer),
        ),
        Command("show", "show an endpoint and its metadata", (ID,), _show, _show_endpoint),
        Command("delete", "delete an endpoint and its tokens", (ID,), _delete, lambda _: "deleted"),
    ),
)
