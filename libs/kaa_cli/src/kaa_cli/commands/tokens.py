"""`kaa token`: the tokens that an endpoint's device identifies itself with."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from kaa_cli.commands.command import PAGING, Argument, Command, Noun, given
from kaa_cli.commands.cut_off import show_receipt
from kaa_cli.commands.endpoints import ID
from kaa_cli.commands.versions import application_of
from kaa_cli.rest_client import RestClient, path
from kaa_cli.tables import fields, page_table

FIELDS = {
    "token id": "endpointTokenId",
    "token": "token",
    "status": "status",
    "application": "applicationName",
    "created": "createdDate",
    "updated": "updateDate",
}
COLUMNS = {"TOKEN ID": "endpointTokenId", "STATUS": "status", "CREATED": "createdDate"}

STATUSES = ("Inactive", "Active", "Suspended", "Revoked")

TOKEN_ID = Argument("token_id", "id of the token, as `kaa token list` shows it")


def _create(client: RestClient, arguments: Namespace) -> Any:
    # A token is unique within its application, which is that of the endpoint.
    endpoint = client.call("GET", path("epr", "endpoints", arguments.endpoint))
    body = given(applicationName=application_of(endpoint["appVersion"]["name"]), token=arguments.token)
    return client.call("POST", path("cm", "endpoints", arguments.endpoint, "tokens"), body=body)


def _list(client: RestClient, arguments: Namespace) -> Any:
    params = given(status=arguments.status, order=arguments.order, offset=arguments.offset, limit=arguments.limit)
    return client.call("GET", path("cm", "endpoints", arguments.endpoint, "tokens"), params=params)


def _show(client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", path("cm", "endpoints", arguments.endpoint, "tokens", arguments.token_id))


def _delete(client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", path("cm", "endpoints", arguments.endpoint, "tokens", arguments.token_id))


def _change_status(status: str) -> Callable[[RestClient, Namespace], Any]:
    def change(client: RestClient, arguments: Namespace) -> Any:
        token = path("cm", "endpoints", arguments.endpoint, "tokens", arguments.token_id, "status")
        return client.call("PUT", token, body={"status": status})

    return change


def _show_changed(token: Any) -> str:
    shown = _show_token(token)
    return f"{shown}\n{show_receipt(token['cutOff'])}" if "cutOff" in token else shown


def _show_token(token: Any) -> str:
    return fields(FIELDS, token)


def _show_created(token: Any) -> str:
    return f"{_show_token(token)}\nKeep the token: it is shown only now."


TOKENS = Noun(
    "token",
    "tokens of an endpoint",
    (
        Command(
            "create",
            "make one more token for an endpoint",
            (ID, Argument("--token", "the token; generated when absent")),
            _create,
            _show_created,
        ),
        Command(
            "list",
            "list the tokens of an endpoint, newest first",
            (
                ID,
                Argument(
                    "--status",
                    "only tokens in it; may be given several times",
                    {"choices": STATUSES, "action": "append"},
                ),
                Argument("--order", "by creation; DESC is the newest first, the default", {"choices": ("ASC", "DESC")}),
                *PAGING,
            ),
            _list,
            lambda answer: page_table(COLUMNS, answer),
        ),
        Command("show", "show a token; its value is not kept", (ID, TOKEN_ID), _show, _show_token),
        Command(
            "suspend",
            "refuse a token until it is activated: its device is cut off now",
            (ID, TOKEN_ID),
            _change_status("Suspended"),
            _show_changed,
        ),
        Command("activate", "take a suspended token again", (ID, TOKEN_ID), _change_status("Active"), _show_changed),
        Command(
            "revoke",
            "refuse a token for ever: its device is cut off now",
            (ID, TOKEN_ID),
            _change_status("Revoked"),
            _show_changed,
        ),
        Command(
            "delete",
            "delete a token: its device is cut off now",
            (ID, TOKEN_ID),
            _delete,
            lambda answer: f"deleted\n{show_receipt(answer['cutOff'])}",
        ),
    ),
)
