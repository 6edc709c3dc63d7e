"""`kaa filter`: named queries of an application's endpoints, which tell who matches as it changes."""

from argparse import Namespace
from typing import Any

from kaa_cli.commands.command import PAGING, Argument, Command, Noun, given
from kaa_cli.commands.endpoints import COLUMNS as ENDPOINT_COLUMNS
from kaa_cli.commands.endpoints import json_object
from kaa_cli.rest_client import RestClient, path
from kaa_cli.tables import fields, page_table

FIELDS = {
    "filter": "id",
    "name": "name",
    "description": "description",
    "query": "mongoQuery",
    "status": "status",
    "matched endpoints": "matchedEndpointsCount",
    "evaluated": "progress.evaluated",
    "of endpoints": "progress.total",
    "created": "createdDate",
    "updated": "updatedDate",
}
COLUMNS = {
    "FILTER": "id",
    "NAME": "name",
    "STATUS": "status",
    "MATCHED": "matchedEndpointsCount",
    "QUERY": "mongoQuery",
}

APPLICATION = Argument("application", "name of the application")
ID = Argument("filter", "id of the filter, as `kaa filter list` shows it")
QUERY = Argument("query", """a query, a JSON object as in '{"metadata.city": "Kyiv"}'""", {"type": json_object})
NAME = Argument("--name", "name for people; unique in the application")
DESCRIPTION = Argument("--description", "what it is for")


def _path(arguments: Namespace, *more: str) -> str:
    return path("epr", "applications", arguments.application, "filters", *more)


def _create(client: RestClient, arguments: Namespace) -> Any:
    body = given(name=arguments.name, description=arguments.description, mongoQuery=arguments.query)
    return client.call("POST", _path(arguments), body=body)


def _list(client: RestClient, arguments: Namespace) -> Any:
    params = given(name=arguments.name, offset=arguments.offset, limit=arguments.limit)
    return client.call("GET", _path(arguments), params=params)


def _show(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", _path(arguments, arguments.filter))


def _update(client: RestClient, arguments: Namespace) -> Any:
    body = given(name=arguments.name, description=arguments.description, mongoQuery=arguments.query)
    return client.call("PATCH", _path(arguments, arguments.filter), body=body)


def _delete(client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", _path(arguments, arguments.filter))


def _preview(client: RestClient, arguments: Namespace) -> Any:
    params = given(offset=arguments.offset, limit=arguments.limit)
    return client.call("POST", _path(arguments, "preview"), params=params, body={"mongoQuery": arguments.query})


def _show_filter(found: Any) -> str:
    return fields(FIELDS, found)


FILTERS = Noun(
    "filter",
    "filters: which endpoints match a query",
    (
        Command(
            "create",
            "make a filter: pending until every endpoint is matched, then active",
            (APPLICATION, QUERY, NAME, DESCRIPTION),
            _create,
            _show_filter,
        ),
        Command(
            "list",
            "list the filters of an application",
            (APPLICATION, Argument("--name", "only the one of this name"), *PAGING),
            _list,
            lambda answer: page_table(COLUMNS, answer),
        ),
        Command("show", "show a filter, and how far it is", (APPLICATION, ID), _show, _show_filter),
        Command(
            "update",
            "change a filter; with another query it is pending again",
            (
                APPLICATION,
                ID,
                Argument("--query", "another query, a JSON object", {"type": json_object}),
                NAME,
                DESCRIPTION,
            ),
            _update,
            _show_filter,
        ),
        Command("delete", "delete a filter", (APPLICATION, ID), _delete, lambda _: "deleted"),
        Command(
            "preview",
            "show which endpoints a query would match",
            (APPLICATION, QUERY, *PAGING),
            _preview,
            lambda answer: page_table(ENDPOINT_COLUMNS, answer),
        ),
    ),
)
