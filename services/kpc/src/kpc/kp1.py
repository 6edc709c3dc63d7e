"""1/KP resource paths, the same in an MQTT topic and in a URL:

    kp1/<application version>/<extension instance>[/<endpoint token>]/<resource path>[/<request id>]

An endpoint-aware extension has a token level. A last level of digits is the request id, 0 to 2147483647, and no part of
the resource path. The answer to a request goes to its topic + `/status` or `/error` (1/KP, Response topic).
"""

import re
from dataclasses import dataclass

from kaa_common import jsontext
from kaa_common.errors import BadRequest

PREFIX = "kp1"
STATUS, ERROR = "/status", "/error"
MAX_REQUEST_ID = 2**31 - 1
"""4/ESP carries it in an Avro int."""
MAX_PATH = 1024
"""Characters: several times the longest path of any Kaa extension, and far from what an MQTT topic can hold."""

_DIGITS = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """The part of a path that says who is meant; `levels` are what only the extension's kind can tell apart."""

    app_version_name: str
    extension: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked of an extension, by which endpoint token (None for an endpoint-unaware extension)."""

    token: str | None
    path: str
    request_id: int | None


def is_kp1(path: str) -> bool:
    """Whether the path is one of this protocol at all."""
    return path.startswith(f"{PREFIX}/")


def parse_address(path: str) -> Address:
    """Raises BadRequest when there are too few levels, an empty one, or more than MAX_PATH characters."""
    if len(path) > MAX_PATH:
        raise BadRequest(f"path longer than {MAX_PATH} characters")
    prefix, *levels = path.split("/")
    if prefix != PREFIX or len(levels) < 3:
        raise BadRequest("path too short: kp1/<app version>/<extension>/<token>/<resource>")
    if not all(levels):
        raise BadRequest("path has an empty level")
    return Address(levels[0], levels[1], tuple(levels[2:]))


def parse_resource(address: Address, *, endpoint_aware: bool) -> Resource:
    """Raises BadRequest when a level is missing or the request id is out of range."""
    levels = list(address.levels)
    token = levels.pop(0) if endpoint_aware else None
    request_id = None
    if levels and _DIGITS.fullmatch(levels[-1]):
        digits = levels.pop()
        # Long ones are not converted at all: that would be slow.
        if len(digits.lstrip("0")) > 10 or int(digits) > MAX_REQUEST_ID:
            raise BadRequest(f"request id above {MAX_REQUEST_ID}")
        request_id = int(digits)
    if not levels:
        raise BadRequest("path too short: no resource after the token" if endpoint_aware else "path has no resource")
    return Resource(token, "/" + "/".join(levels), request_id)


def error_payload(status_code: int, reason_phrase: str) -> bytes:
    """The payload of every error (1/KP, error response schema)."""
    return jsontext.dump({"statusCode": status_code, "reasonPhrase": reason_phrase})
