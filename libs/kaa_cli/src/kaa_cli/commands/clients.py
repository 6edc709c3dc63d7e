"""`kaa client`: what clients connect with (`basic`, `x509`), and who vouches for their certificates (`ca`)."""

import os
import re
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from kaa_cli.commands.command import Argument, Command, Group, Noun, given
from kaa_cli.commands.cut_off import show_receipt
from kaa_cli.errors import CommandError
from kaa_cli.rest_client import RestClient, path
from kaa_cli.tables import fields, printable, table

BASIC, X509 = "basic-credentials", "x509-credentials"
BASIC_FIELDS = {
    "id": "id",
    "username": "username",
    "tenant": "tenantId",
    "password": "password",
    "state": "state",
    "created": "createdDate",
    "updated": "updatedDate",
    "last used": "lastUseDate",
}
X509_FIELDS = {
    "id": "id",
    "common name": "commonName",
    "issuer": "issuer",
    "serial number": "serialNumber",
    "state": "state",
    "valid until": "validUntil",
    "created": "createdDate",
    "updated": "updatedDate",
    "last used": "lastUseDate",
}
BASIC_COLUMNS = {"ID": "id", "USERNAME": "username", "STATE": "state", "CREATED": "createdDate", "USED": "lastUseDate"}
X509_COLUMNS = {
    "ID": "id",
    "COMMON NAME": "commonName",
    "STATE": "state",
    "VALID UNTIL": "validUntil",
    "USED": "lastUseDate",
}

ID = Argument("id", "id of the credentials, as `list` shows it")
PAGING = (
    Argument("--offset", "index of the first one", {"type": int}),
    Argument("--limit", "at most so many; the server's default is 1000", {"type": int}),
)
STATES = {"suspend": "Suspended", "activate": "Active", "revoke": "Revoked"}
STATE_HELP = {
    "suspend": "refuse {} until they are activated again",
    "activate": "let {} in again",
    "revoke": "refuse {} for ever",
}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
OWN_ONLY = 0o600
"""Mode of the files written: their owner reads them and nobody else."""


def seconds(text: str) -> int:
    """The seconds in a number with its unit, as in `365d`."""
    parts = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if parts is None:
        raise ArgumentTypeError("a number and its unit (s, m, h or d) are expected, as in 365d")
    return int(parts[1]) * SECONDS[parts[2]]


def _create_basic(client: RestClient, arguments: Namespace) -> Any:
    password = _read(arguments.password_file).rstrip("\r\n") if arguments.password_file else None
    return client.call("POST", path("ccm", BASIC), body=given(username=arguments.username, password=password))


def _create_x509(client: RestClient, arguments: Namespace) -> Any:
    csr = _read(arguments.csr) if arguments.csr else None
    if csr is not None and arguments.key_file:
        raise CommandError("with a signing request there is no private key to write: it stays where it is")
    with _new_file(arguments.certificate_file) as certificate_file, _new_file(arguments.key_file) as key_file:
        body = given(commonName=arguments.common_name, ttl=arguments.ttl, csr=csr)
        answer = client.call("POST", path("ccm", X509), body=body)
        # What is in a file is not shown as well.
        if certificate_file is not None:
            certificate_file.write(answer.pop("certificateChain"))
        if key_file is not None:
            key_file.write(answer.pop("privateKey"))
    return answer


def _list(kind: str, client: RestClient, arguments: Namespace) -> Any:
    params = given(offset=arguments.offset, limit=arguments.limit)
    return client.call("GET", path("ccm", kind), params=params)


def _show(kind: str, client: RestClient, arguments: Namespace) -> Any:
    return client.call("GET", path("ccm", kind, arguments.id))


def _change(kind: str, state: str, client: RestClient, arguments: Namespace) -> Any:
    return client.call("PUT", path("ccm", kind, arguments.id, "status"), body={"status": state})


def _delete(kind: str, client: RestClient, arguments: Namespace) -> Any:
    return client.call("DELETE", path("ccm", kind, arguments.id))


def _authorities(client: RestClient, arguments: Namespace) -> str:
    return client.text("GET", path("ccm", "ca-certificates"))


def _show_created_basic(answer: Any) -> str:
    who = printable(f"{answer['username']}@{answer['tenantId']}")
    return f"{fields(BASIC_FIELDS, answer)}\nKeep the password: it is shown only now. Clients connect as {who}."


def _show_created_x509(answer: Any) -> str:
    pem = [answer[name].rstrip() for name in ("certificateChain", "privateKey") if name in answer]
    parts = [fields(X509_FIELDS, answer), *pem]
    if pem:
        parts.append("Keep what is above in PEM: it is shown only now.")
    return "\n".join(parts)


def _show_changed(columns: dict[str, str], answer: Any) -> str:
    receipt = answer.get("cutOff")
    return "\n".join([fields(columns, answer), *([show_receipt(receipt)] if receipt else [])])


def _show_deleted(answer: Any) -> str:
    return f"deleted\n{show_receipt(answer['cutOff'])}"


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"cannot read {file}: {exc}") from exc


@contextmanager
def _new_file(file: str | None) -> Iterator[TextIO | None]:
    """A file that did not exist, to be written; gone again when something fails. None stays None.

    It is made before the server is asked, because what is to be written is answered only once.
    """
    if file is None:
        yield None
        return
    try:
        opened = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWN_ONLY), "w")
    except OSError as exc:
        raise CommandError(f"cannot create {file}: {exc.strerror}") from exc
    try:
        with opened:
            yield opened
    except BaseException:
        Path(file).unlink(missing_ok=True)
        raise


def _common_commands(kind: str, name: str, all_fields: dict[str, str], columns: dict[str, str]) -> tuple[Command, ...]:
    """What is done with credentials of either kind once they are there."""
    show_changed: Callable[[Any], str] = partial(_show_changed, all_fields)
    return (
        Command(
            "list", f"list {name}, oldest first", PAGING, partial(_list, kind), lambda answer: table(columns, answer)
        ),
        Command(
            "show",
            f"show {name}; their secrets are not kept",
            (ID,),
            partial(_show, kind),
            lambda answer: fields(all_fields, answer),
        ),
        *(
            Command(verb, STATE_HELP[verb].format(name), (ID,), partial(_change, kind, state), show_changed)
            for verb, state in STATES.items()
        ),
        Command("delete", f"delete {name}: who uses them is cut off", (ID,), partial(_delete, kind), _show_deleted),
    )


CLIENTS = Group(
    "client",
    "credentials of clients",
    (
        Noun(
            "basic",
            "usernames and passwords",
            (
                Command(
                    "create",
                    "make a username and a password",
                    (
                        Argument("--username", "letters, digits and . _ ~ -; two random words when absent"),
                        Argument("--password-file", "file with the password, - for standard input; else generated"),
                    ),
                    _create_basic,
                    _show_created_basic,
                ),
                *_common_commands(BASIC, "basic credentials", BASIC_FIELDS, BASIC_COLUMNS),
            ),
        ),
        Noun(
            "x509",
            "certificates",
            (
                Command(
                    "create",
                    "issue a certificate, with a new key or for that of a signing request",
                    (
                        Argument("--common-name", "as a host name; two random words when absent"),
                        Argument("--ttl", "how long it is valid, as in 90d; a year when absent", {"type": seconds}),
                        Argument("--csr", "file with a signing request (PEM), - for standard input"),
                        Argument("--certificate-file", "new file for the chain of certificates (PEM)"),
                        Argument("--key-file", "new file for the private key (PEM)"),
                    ),
                    _create_x509,
                    _show_created_x509,
                ),
                *_common_commands(X509, "X.509 credentials", X509_FIELDS, X509_COLUMNS),
            ),
        ),
        Noun(
            "ca",
            "certificate authorities",
            (
                Command(
                    "show", "print the certificates (PEM) that verify those of clients", (), _authorities, str.rstrip
                ),
            ),
        ),
    ),
)
