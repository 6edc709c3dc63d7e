"""10/EPMP: what a device may ask of its own metadata, and what its application version lets it [pure].

`plan` turns a resource path and a payload into what has to be done; the configuration of the application version says
which keys are readable and writable:

    {"metadata-keys": {"<key>": {"write-enabled": false}, ...}}

Without `metadata-keys` all keys are; else only those listed, writable unless `write-enabled` is false. A request that
names a restricted key is refused as a whole; one that names none leaves restricted keys out, and as they are.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from epr.metadata import Metadata, Operation, check_keys, delete_keys, merge, parse_object, select
from kaa_common import jsontext
from kaa_common.errors import BadRequest, Forbidden, NotFound


@dataclass(frozen=True, slots=True)
class Whitelist:
    """The keys of an application version, None when all are allowed."""

    keys: Mapping[str, Any] | None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Whitelist":
        """That of an application version's configuration. Raises ValueError when it is malformed."""
        keys = config.get("metadata-keys")
        if keys is not None and not isinstance(keys, dict):
            raise ValueError("metadata-keys is not an object")
        for key, rights in (keys or {}).items():
            if rights is not None and not isinstance(rights, dict):
                raise ValueError(f"what is said of the metadata key {key!r} is not an object")
            if not isinstance((rights or {}).get("write-enabled", True), bool):
                raise ValueError(f"write-enabled of the metadata key {key!r} is neither true nor false")
        return cls(keys)

    def with_writable(self, keys: Iterable[str]) -> "Whitelist":
        """One that lets these be written, too."""
        return self if self.keys is None else Whitelist({**self.keys, **dict.fromkeys(keys)})

    def allows_reading(self, key: str) -> bool:
        return self.keys is None or key in self.keys

    def allows_writing(self, key: str) -> bool:
        if self.keys is None:
            return True
        return key in self.keys and bool((self.keys[key] or {}).get("write-enabled", True))

    def check_reading(self, keys: Iterable[str]) -> None:
        """Raises Forbidden."""
        if not all(map(self.allows_reading, keys)):
            raise Forbidden("a metadata key is not readable")

    def check_writing(self, keys: Iterable[str]) -> None:
        """Raises Forbidden."""
        if not all(map(self.allows_writing, keys)):
            raise Forbidden("a metadata key is not writable")


@dataclass(frozen=True, slots=True)
class Read:
    """Answer with what this makes of the metadata."""

    answer: Callable[[Metadata], Any]


@dataclass(frozen=True, slots=True)
class Change:
    """Change the metadata, answer with nothing."""

    operation: Operation


def plan(resource_path: str, payload: bytes, whitelist: Whitelist) -> Read | Change:
    """What a request asks for. Raises NotFound, BadRequest, Forbidden."""
    resource = _RESOURCES.get(resource_path)
    if resource is None:
        raise NotFound("unknown resource path")
    return resource(payload, whitelist)


def _get(payload: bytes, whitelist: Whitelist) -> Read:
    request = jsontext.parse(payload) if payload else {}
    if not isinstance(request, dict) or request.keys() - {"keys"}:
        raise BadRequest('send nothing, {} or {"keys": [...]}')
    if "keys" not in request:
        return Read(lambda metadata: {key: metadata[key] for key in metadata if whitelist.allows_reading(key)})
    keys = _unique_keys(request["keys"])
    whitelist.check_reading(keys)
    return Read(lambda metadata: select(metadata, keys))


def _get_keys(_: bytes, whitelist: Whitelist) -> Read:
    # 10/EPMP: a payload is ignored.
    return Read(lambda metadata: [key for key in metadata if whitelist.allows_reading(key)])


def _update(payload: bytes, whitelist: Whitelist) -> Change:
    members = _members(payload, whitelist)

    def update(metadata: Metadata) -> Metadata:
        kept = {key: value for key, value in metadata.items() if not whitelist.allows_writing(key)}
        return {**kept, **members}

    return Change(update)


def _update_keys(payload: bytes, whitelist: Whitelist) -> Change:
    return Change(merge(_members(payload, whitelist)))


def _delete_keys(payload: bytes, whitelist: Whitelist) -> Change:
    keys = _unique_keys(jsontext.parse(payload))
    if not keys:
        raise BadRequest("name at least one metadata key")
    whitelist.check_writing(keys)
    return Change(delete_keys(keys))


_RESOURCES: Mapping[str, Callable[[bytes, Whitelist], Read | Change]] = {
    "/get": _get,
    "/get/keys": _get_keys,
    "/update": _update,
    "/update/keys": _update_keys,
    "/delete/keys": _delete_keys,
}


def _members(payload: bytes, whitelist: Whitelist) -> Metadata:
    members = parse_object(payload)
    if not members:
        raise BadRequest("name at least one metadata key")
    whitelist.check_writing(members)
    return members


def _unique_keys(keys: Any) -> list[str]:
    if not isinstance(keys, list):
        raise BadRequest("metadata keys must be a JSON array of strings")
    check_keys(keys)
    if len(set(keys)) < len(keys):
        raise BadRequest("a metadata key is named twice")
    return keys
