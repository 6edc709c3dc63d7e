"""The REST form of an application version's configuration, and the merging of a partial one (RFC 7396) [pure].

    {"<service instance>": {"kaa": {"applications": {"<application>": {"versions": {"<version>": {...}}}}}}}

The same nesting as in the configuration file of Kaa's services; null stands for no configuration.
"""

from collections.abc import Mapping
from typing import Any

from kaa_common.errors import BadRequest
from kaa_common.subjects import checked_name
from tekton.model import Configuration

Json = Any  # whatever JSON a client sends


def nested(configurations: Mapping[str, Configuration | None], app_name: str, app_version_name: str) -> dict[str, Json]:
    """Configurations by service instance, in the REST form."""
    return {
        instance: {"kaa": {"applications": {app_name: {"versions": {app_version_name: configuration}}}}}
        for instance, configuration in configurations.items()
    }


def unnested(body: Json, app_name: str, app_version_name: str) -> dict[str, Json]:
    """The values by service instance. Raises BadRequest when the body has another form, or is about another version."""
    if not isinstance(body, dict) or not body:
        raise BadRequest("the body is a JSON object with a member for each service instance")
    path = ("kaa", "applications", app_name, "versions", app_version_name)
    return {checked_name(instance): _value_at(value, path, instance) for instance, value in body.items()}


def checked(configurations: Mapping[str, Json]) -> dict[str, Configuration | None]:
    """Raises BadRequest unless each is an object or null."""
    for instance, configuration in configurations.items():
        if configuration is not None and not isinstance(configuration, dict):
            raise BadRequest(f"the configuration for {instance} is a JSON object or null")
    return dict(configurations)


def merged(target: Json, patch: Json) -> Json:
    """The target with the patch applied (RFC 7396 section 2)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _value_at(value: Json, path: tuple[str, ...], instance: str) -> Json:
    for name in path:
        if not isinstance(value, dict) or set(value) != {name}:
            raise BadRequest(f"{instance}: expected nothing but the path {' / '.join(path)}")
        value = value[name]
    return value
