"""Metadata of an endpoint: what it may be, and the operations on it [pure].

Metadata is a JSON object whose keys are `[a-zA-Z0-9_]+` (10/EPMP); its values are any JSON. An operation takes the
metadata an endpoint has and returns the metadata it shall have, and leaves the former as it is: when another replica
was faster, it is done again on what that one wrote.
"""

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jsonpatch
import jsonpointer

from kaa_common import jsontext
from kaa_common.errors import BadRequest, NotFound, PayloadTooLarge, Unprocessable

KEY_PATTERN = "^[a-zA-Z0-9_]+$"
MAX_KEYS = 512
MAX_BYTES = 256 * 1024
"""Bytes of the metadata as JSON text."""
MAX_DEPTH = jsontext.MAX_DEPTH
"""Levels of arrays and objects, the metadata itself being the first."""
MAX_PATCH_OPERATIONS = 1000
"""Each may cost a look at the whole metadata; a patch for every key there can be still fits."""
_ENVELOPE_OF_PATCH = 2
"""Levels a JSON Patch puts around a value."""

Metadata = Mapping[str, Any]  # Any: whatever JSON there is
Operation = Callable[[Metadata], Metadata]

_KEY = re.compile(KEY_PATTERN.strip("^$"))


def check_keys(keys: Iterable[Any]) -> None:
    """Raises BadRequest unless all are strings that may be metadata keys."""
    for key in keys:
        if not isinstance(key, str) or _KEY.fullmatch(key) is None:
            raise BadRequest("a metadata key may hold only letters, digits and _")


def check_limits(metadata: Metadata) -> None:
    """Raises PayloadTooLarge when there is more than an endpoint may have."""
    if len(metadata) > MAX_KEYS:
        raise PayloadTooLarge(f"metadata may have at most {MAX_KEYS} keys")
    if len(jsontext.dump(metadata)) > MAX_BYTES:
        raise PayloadTooLarge(f"metadata may have at most {MAX_BYTES} bytes")


def parse_object(text: bytes) -> dict[str, Any]:
    """Metadata that somebody sent. Raises BadRequest."""
    members = jsontext.parse(text, max_depth=MAX_DEPTH)
    if not isinstance(members, dict):
        raise BadRequest("metadata must be a JSON object")
    check_keys(members)
    return members


def parse_value(text: bytes) -> Any:
    """The value of one key that somebody sent. Raises BadRequest."""
    return jsontext.parse(text, max_depth=MAX_DEPTH - 1)


def select(metadata: Metadata, keys: Iterable[str]) -> Metadata:
    """These keys alone, as far as they exist."""
    return {key: metadata[key] for key in keys if key in metadata}


def replace_all(members: Metadata) -> Operation:
    return lambda _: members


def merge(members: Metadata) -> Operation:
    """Create or overwrite these keys, keep the others."""
    return lambda metadata: {**metadata, **members}


def delete_keys(keys: Iterable[str]) -> Operation:
    """Delete these keys; those that do not exist need no deleting, so the operation can be repeated."""
    unwanted = frozenset(keys)
    return lambda metadata: {key: value for key, value in metadata.items() if key not in unwanted}


def delete_key(key: str) -> Operation:
    """Delete a key. The operation raises NotFound when it does not exist."""

    def delete(metadata: Metadata) -> Metadata:
        if key not in metadata:
            raise NotFound("no metadata with this key")
        return delete_keys([key])(metadata)

    return delete


def parse_patch(text: bytes) -> Operation:
    """The JSON Patch (RFC 6902) that somebody sent. Raises BadRequest.

    The operation raises Unprocessable when it cannot be applied or its result is not metadata.
    """
    operations = jsontext.parse(text, max_depth=MAX_DEPTH + _ENVELOPE_OF_PATCH)
    if not isinstance(operations, list):
        raise BadRequest("a JSON Patch must be an array of operations")
    if len(operations) > MAX_PATCH_OPERATIONS:
        raise PayloadTooLarge(f"a JSON Patch may have at most {MAX_PATCH_OPERATIONS} operations")
    try:
        # One patch for each operation: see _apply.
        patches = [jsonpatch.JsonPatch([operation]) for operation in operations]
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as exc:
        raise BadRequest("not a JSON Patch: an operation is malformed") from exc
    return lambda metadata: _apply(patches, metadata)


def _apply(patches: list[jsonpatch.JsonPatch], metadata: Metadata) -> Metadata:
    patched: Any = copy.deepcopy(metadata)
    for number, patch in enumerate(patches, 1):
        try:
            patched = patch.apply(patched, in_place=True)
        except jsonpatch.InvalidJsonPatch as exc:
            raise BadRequest(f"operation {number} of the JSON Patch is malformed") from exc
        except jsonpatch.JsonPatchTestFailed as exc:
            raise Unprocessable(f"operation {number} of the JSON Patch: the test failed") from exc
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as exc:
            raise Unprocessable(f"operation {number} of the JSON Patch cannot be applied") from exc
        # Operations can double the size ("copy") and add a level ("move"), so they are stopped on the way.
        _check_size(patched)
    _check_patched(patched)
    return patched  # type: ignore[no-any-return] # checked to be metadata


def _check_size(patched: Any) -> None:
    try:
        size = len(jsontext.dump(patched))
    except TypeError as exc:  # by orjson, of a structure 255 levels deep
        raise Unprocessable("the JSON Patch nests too deeply") from exc
    if size > MAX_BYTES:
        raise PayloadTooLarge(f"metadata may have at most {MAX_BYTES} bytes")


def _check_patched(patched: Any) -> None:
    if not isinstance(patched, dict):
        raise Unprocessable("the JSON Patch leaves something that is not a JSON object")
    try:
        check_keys(patched)
    except BadRequest as exc:
        raise Unprocessable(str(exc)) from exc
    if _is_deeper(patched, MAX_DEPTH):
        raise Unprocessable("the JSON Patch nests too deeply")


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(
        _is_deeper(member, levels - 1) for member in (value.values() if isinstance(value, dict) else value)
    )
