"""`kaa endpoint`: the digital twins in the endpoint register, their metadata and their application version."""

import json
from argparse import ArgumentTypeError, Namespace
from typing import Any

from kaa_cli.commands.command import PAGING, Argument, Command, Noun, given
from kaa_cli.rest_client import RestClient, path
from kaa_cli.tables import fields, metadata_table, page_table, printable
from kaa_common import jsontext

FIELDS = {
    "endpoint": "endpointId",
    "version": "appVersion.name",
    "created": "createdDate",
    "metadata updated": "metadataUpdatedDate",
}
COLUMNS = {"ENDPOINT": "endpointId", "VERSION": "appVersion.name", "CREATED": "createdDate"}
APP_VERSION = {"version": "name", "since": "registeredDate"}
CREATED = {"endpoint": "endpointId", "token": "token", "token status": "status"}

ID = Argument("endpoint", "id of the endpoint")
KEY = Argument("key", "metadata key: letters, digits and _")


def json_object(text: str) -> dict[str, Any]:
    """The JSON object of a command line argument."""
    try:
        value = jsontext.parse(text.encode())
    except jsontext.InvalidJson as exc:
        raise ArgumentTypeError(str(exc)) from exc
    if not isinstance(value, dict):
        raise ArgumentTypeError("a JSON object is expected")
    return value


def json_value(text: str) -> str:
    """Checks that a command line argument is JSON. It stays text, so that every value is sent as it was written."""
    try:
        jsontext.parse(text.encode())
    except jsontext.InvalidJson as exc:
        raise ArgumentTypeError(f"{exc}; a text needs its quotes, as in '\"red\"'") from exc
    return text


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
        filterId=arguments.filter,
        metadataFilter=arguments.metadata,
        multiFilter=arguments.text,
        regex="true" if arguments.regex else None,
        offset=arguments.offset,
        limit=arguments.limit,
        after=arguments.after,
    )
    return client.call("GET", path("epr", "endpoints"), params=params)


def _show(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", path("epr", "endpoints", arguments.endpoint), params={"include": "metadata"})


def _delete(client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", path("epr", "endpoints", arguments.endpoint))


def _metadata_path(arguments: Namespace) -> str:
    key = () if arguments.key is None else (arguments.key,)
    return path("epr", "endpoints", arguments.endpoint, "metadata", *key)


def _get_metadata(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", _metadata_path(arguments))


def _set_metadata(client: RestClient, arguments: Namespace) -> Any:
    return client.call("PUT", _metadata_path(arguments), content=arguments.value)


def _delete_metadata(client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", _metadata_path(arguments))


def _app_version(client: RestClient, arguments: Namespace) -> Any:
    app_version = path("epr", "endpoints", arguments.endpoint, "app-version")
    if arguments.version is not None:
        client.call("PUT", app_version, body={"name": arguments.version})
    return client.call("GET", app_version)


def _show_value(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False))


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
                Argument("--filter", "only those that match this filter, an id"),
                Argument("--metadata", "only those with this metadata, as in city=Kyiv,floor=3"),
                Argument("--text", "only those with this text in their id, version or metadata"),
                Argument("--regex", "--metadata and --text are regular expressions", {"action": "store_true"}),
                Argument("--after", "go on behind this page: its `next` in --json"),
                *PAGING,
            ),
            _list,
            lambda answer: page_table(COLUMNS, answer),
        ),
        Command("show", "show an endpoint and its metadata", (ID,), _show, _show_endpoint),
        Command(
            "app-version",
            "show or change the application version of an endpoint",
            (ID, Argument("--version", "another version of its application", {"dest": "version"})),
            _app_version,
            lambda answer: fields(APP_VERSION, answer),
        ),
        Command(
            "get",
            "get metadata of an endpoint as JSON",
            (ID, Argument("key", "only the value of this key", {"nargs": "?"})),
            _get_metadata,
            _show_value,
        ),
        Command(
            "set",
            "set the value of a metadata key",
            (ID, KEY, Argument("value", "a JSON value: 1, true, '\"red\"'", {"type": json_value})),
            _set_metadata,
            lambda _: "set",
        ),
        Command("unset", "delete a metadata key", (ID, KEY), _delete_metadata, lambda _: "deleted"),
        Command("delete", "delete an endpoint and its tokens", (ID,), _delete, lambda _: "deleted"),
    ),
)
