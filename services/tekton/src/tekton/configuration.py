"""The REST form of configurations, and the merging of a partial one (RFC 7396) [pure].

    {"<service instance>": {"kaa": {"applications": {"<application>": {"versions": {"<version>": {...}}}}}}}
    {"<service instance>": {"kaa": {"applications": {"<application>": {...}}}}}
    {"<service instance>": {"kaa": {"tenants": {"<tenant id>": {"config": {...}}}}}}

The same nesting as in the configuration file of Kaa's services; null stands for no configuration.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from kaa_common.errors import BadRequest
from kaa_common.subjects import checked_name
from tekton.model import Application, Configuration, checked_tenant_id

Json = Any  # whatever JSON a client sends
Path = tuple[str, ...]
"""Where a configuration is in that of its service instance."""


def configuration_path(app_name: str, app_version_name: str | None) -> Path:
    """That of a version, or of the application itself."""
    application = ("kaa", "applications", app_name)
    return application if app_version_name is None else (*application, "versions", app_version_name)


def tenant_path(tenant_id: str) -> Path:
    return ("kaa", "tenants", tenant_id, "config")


def nested(configurations: Mapping[str, Configuration | None], path: Path) -> dict[str, Json]:
    """Configurations by service instance, in the REST form."""
    return {instance: _at(path, configuration) for instance, configuration in configurations.items()}


def unnested(body: Json, path: Path) -> dict[str, Json]:
    """The values by service instance. Raises BadRequest when the body has another form, or is about something else."""
    if not isinstance(body, dict) or not body:
        raise BadRequest("the body is a JSON object with a member for each service instance")
    return {checked_name(instance): _value_at(value, path, instance) for instance, value in body.items()}


def tenant_in(body: Json) -> str:
    """The tenant that a body is about. Raises BadRequest when there is none, or more than one."""
    try:
        tenant_ids = {tenant_id for value in body.values() for tenant_id in value["kaa"]["tenants"]}
    except (AttributeError, KeyError, TypeError):
        tenant_ids = set()
    if len(tenant_ids) != 1:
        raise BadRequest("for each service instance the path kaa / tenants / <tenant id> / config, for one tenant")
    return checked_tenant_id(tenant_ids.pop())


def checked_of_application(configurations: Mapping[str, Json]) -> dict[str, Configuration | None]:
    """As `checked`, for configurations of an application itself."""
    for instance, configuration in configurations.items():
        if isinstance(configuration, dict) and "versions" in configuration:
            raise BadRequest(f"{instance}: configure the versions of an application each by itself")
    return checked(configurations)


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


def whole(applications: Iterable[Application], instances: Collection[str]) -> dict[str, Json]:
    """All configurations in the REST form, of these service instances, or of all when there are none.

    Every application is named, with what is configured of it; null stands for nothing.
    """
    applications = list(applications)
    shown = instances or dict.fromkeys(name for application in applications for name in _configured_for(application))
    return {
        instance: {"kaa": {"applications": {app.name: _configuration_for(app, instance) for app in applications}}}
        for instance in shown
    }


def _configured_for(application: Application) -> Iterator[str]:
    yield from application.configurations
    for version in application.versions.values():
        yield from version.configurations


def _configuration_for(application: Application, instance: str) -> Json:
    own = application.configurations.get(instance)
    versions = {
        name: version.configurations[instance]
        for name, version in application.versions.items()
        if instance in version.configurations
    }
    if own is None and not versions:
        return None
    return {**(own or {}), **({"versions": versions} if versions else {})}


def _at(path: Path, value: Json) -> Json:
    for name in reversed(path):
        value = {name: value}
    return value


def _value_at(value: Json, path: Path, instance: str) -> Json:
    for name in path:
        if not isinstance(value, dict) or set(value) != {name}:
            raise BadRequest(f"{instance}: expected nothing but the path {' / '.join(path)}")
        value = value[name]
    return value
