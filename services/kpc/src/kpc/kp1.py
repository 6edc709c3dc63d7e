"""1/KP resource paths, the same in an MQTT topic and in a URL:

    kp1/<application version>/<extension instance>[/<endpoint token>]/<resource path>[/<request id>]

An endpoint-aware extension has a token level. A last level of digits is the request id, 0 to 2147483647, and no part of
the resource path. The answer to a request goes to its topic + `/status` or `/error` (1/KP, Response topic); what an
extension sends of its own accord goes to the topic that a request for it would have.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from kaa_common import jsontext
from kaa_common.errors import BadRequest

PREFIX = "kp1"
STATUS, ERROR = "/status", "/error"
MAX_REQUEST_ID = 2**31 - 1
"""4/ESP carries it in an Avro int."""
MAX_PATH = 1024
"""Characters: several times the longest path of any Kaa extension, and far from what an MQTT topic can hold."""

MAX_LEVELS = 32
"""Several times the deepest path of any Kaa extension."""
MAX_REASON = 120
"""Characters of a reason phrase: with its topic the error has to fit into the 256 bytes that PubSubClient takes."""

_WILDCARDS = ("+", "#")
_DIGITS = re.compile(r"[0-9]+", re.ASCII)


class Address(NamedTuple):
    """The part of a path that says who is meant; `levels` are what only the extension's kind can tell apart."""

    app_version_name: str
    extension: str
    levels: tuple[str, ...]


class Resource(NamedTuple):
    """What is asked of an extension, by which endpoint token (None for an endpoint-unaware extension)."""

    token: str | None
    path: str
    request_id: int | None


class Name(NamedTuple):
    """Who speaks: an application version's token; None for all of the version, to an endpoint-unaware extension."""

    app_version_name: str
    extension: str
    token: str | None

    def __repr__(self) -> str:
        return f"Name({self.app_version_name!r}, {self.extension!r})"


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
    if len(levels) >= MAX_LEVELS:
        raise BadRequest(f"path deeper than {MAX_LEVELS} levels")
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


def names_in(topic_filters: Iterable[str], extensions: Mapping[str, bool]) -> tuple[Name, ...]:
    """Who subscribes, each once: of the filters those that name all levels up to the token, whatever comes behind it.

    Any other filter is as good, and names nobody.
    """
    return tuple(dict.fromkeys(filter(None, (_name_in(topic_filter, extensions) for topic_filter in topic_filters))))


def push_topic(name: Name, resource_path: str, request_id: int | None) -> str:
    """Where an extension's own message goes, but for `/status` or `/error`; the resource path starts with a slash."""
    token = "" if name.token is None else f"/{name.token}"
    number = "" if request_id is None else f"/{request_id}"
    return f"{PREFIX}/{name.app_version_name}/{name.extension}{token}{resource_path}{number}"


def error_payload(status_code: int, reason_phrase: str) -> bytes:
    """The payload of every error (1/KP, error response schema)."""
    reason = reason_phrase or _standard_phrase(status_code)
    if len(reason) > MAX_REASON:
        reason = reason[: MAX_REASON - 3] + "..."
    return jsontext.dump({"statusCode": status_code, "reasonPhrase": reason})


def _name_in(topic_filter: str, extensions: Mapping[str, bool]) -> Name | None:
    if len(topic_filter) > MAX_PATH:
        return None
    match topic_filter.split("/", 4):
        case [prefix, app_version_name, extension, *rest] if prefix == PREFIX and rest:
            is_aware = extensions.get(extension)
            if is_aware is None or app_version_name in ("", *_WILDCARDS) or (is_aware and rest[0] in ("", *_WILDCARDS)):
                return None
            return Name(app_version_name, extension, rest[0] if is_aware else None)
    return None


def _standard_phrase(status_code: int) -> str:
    try:
        return HTTPStatus(status_code).phrase
    except ValueError:
        return "error"
