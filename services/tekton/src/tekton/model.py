"""Applications and their versions, and every change that can be made to them [pure].

Values are frozen; a change returns the application at its next revision. Names never change: an application's is chosen
or generated, a version's is `<application>-<suffix>`, and as the suffix has no `-` the application of a version name is
everything before the last one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from kaa_common.errors import BadRequest, Conflict, NotFound

MAX_VERSIONS = 1000
"""Versions of one application: they are kept in one document, and nobody oversees more."""
MAX_DISPLAY_NAME = 256
MAX_DESCRIPTION = 4096

_APPLICATION_NAME = re.compile(r"[a-z0-9_-]{1,64}")
# Together with the longest application name just what still fits into a subject.
_SUFFIX = re.compile(r"[a-z0-9]{1,63}")
_TENANT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Configuration = Mapping[str, Any]
"""Of one application version, or tenant, for one service instance: a JSON object that only that service understands."""


class Texts(TypedDict, total=False):
    """What people read; None removes one, a missing one stays as it is."""

    display_name: str | None
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationVersion:
    name: str
    display_name: str | None = None
    description: str | None = None
    created_ms: int
    updated_ms: int
    configurations: Mapping[str, Configuration] = field(default_factory=dict)
    """By service instance name."""

    def described(self, texts: Texts, now_ms: int) -> "ApplicationVersion":
        return replace(self, **_checked(texts), updated_ms=now_ms)

    def configured(self, configurations: Mapping[str, Configuration | None], now_ms: int) -> "ApplicationVersion":
        """With these in place of the former ones of the same service instances; None removes one."""
        return replace(self, configurations=_with(self.configurations, configurations), updated_ms=now_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantConfiguration:
    tenant_id: str
    revision: int
    """0 when the tenant was never configured."""
    configurations: Mapping[str, Configuration] = field(default_factory=dict)
    """By service instance name."""

    def configured(self, configurations: Mapping[str, Configuration | None]) -> "TenantConfiguration":
        """With these in place of the former ones of the same service instances; None removes one."""
        kept = _with(self.configurations, configurations)
        return replace(self, configurations=kept, revision=self.revision + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    name: str
    tenant_id: str
    revision: int = 1
    display_name: str | None = None
    description: str | None = None
    created_ms: int
    updated_ms: int
    configurations: Mapping[str, Configuration] = field(default_factory=dict)
    """Of the application itself, by service instance name; its versions have their own."""
    versions: Mapping[str, ApplicationVersion] = field(default_factory=dict)
    """By name, in the order they were created."""

    def version(self, name: str) -> ApplicationVersion:
        """Raises NotFound."""
        if name not in self.versions:
            raise NotFound("no application version with this name")
        return self.versions[name]

    def described(self, texts: Texts, now_ms: int) -> "Application":
        return replace(self, **_checked(texts), updated_ms=now_ms, revision=self.revision + 1)

    def configurations_of(self, version: str | None) -> Mapping[str, Configuration]:
        """Those of a version, or of the application itself. Raises NotFound."""
        return self.configurations if version is None else self.version(version).configurations

    def configured(
        self, version: str | None, configurations: Mapping[str, Configuration | None], now_ms: int
    ) -> "Application":
        """With these in place of the former ones of the same service instances; None removes one. Raises NotFound."""
        if version is not None:
            return self.with_version(self.version(version).configured(configurations, now_ms), now_ms)
        kept = _with(self.configurations, configurations)
        return replace(self, configurations=kept, updated_ms=now_ms, revision=self.revision + 1)

    def with_new_version(self, name: str, texts: Texts, now_ms: int) -> "Application":
        """Raises Conflict when the name is taken or there are too many."""
        if name in self.versions:
            raise Conflict("an application version with this name exists")
        if len(self.versions) >= MAX_VERSIONS:
            raise Conflict(f"an application has at most {MAX_VERSIONS} versions")
        return self.with_version(
            ApplicationVersion(name=name, created_ms=now_ms, updated_ms=now_ms, **_checked(texts)), now_ms
        )

    def with_version(self, version: ApplicationVersion, now_ms: int) -> "Application":
        versions = {**self.versions, version.name: version}
        return replace(self, versions=versions, updated_ms=now_ms, revision=self.revision + 1)

    def without_version(self, name: str, now_ms: int) -> "Application":
        """Raises NotFound."""
        self.version(name)
        versions = {other: version for other, version in self.versions.items() if other != name}
        return replace(self, versions=versions, updated_ms=now_ms, revision=self.revision + 1)


def checked_tenant_id(tenant_id: str) -> str:
    """Raises BadRequest when it cannot be one."""
    if _TENANT_ID.fullmatch(tenant_id) is None:
        raise BadRequest("a tenant id is 1 to 64 letters, digits, _ and -")
    return tenant_id


def new_application(name: str, tenant_id: str, texts: Texts, now_ms: int) -> Application:
    """Raises BadRequest when the name cannot be one."""
    if _APPLICATION_NAME.fullmatch(name) is None:
        raise BadRequest("an application name is 1 to 64 lower case letters, digits, _ and -")
    return Application(name=name, tenant_id=tenant_id, created_ms=now_ms, updated_ms=now_ms, **_checked(texts))


def version_name(app_name: str, suffix: str) -> str:
    """Raises BadRequest when the suffix cannot be one."""
    if _SUFFIX.fullmatch(suffix) is None:
        raise BadRequest("a version suffix is 1 to 63 lower case letters and digits")
    return f"{app_name}-{suffix}"


def application_of(app_version_name: str) -> str:
    """The name of the application that a version with this name belongs to; empty when it is no version's name."""
    return app_version_name.rpartition("-")[0]


def _with(
    former: Mapping[str, Configuration], changed: Mapping[str, Configuration | None]
) -> Mapping[str, Configuration]:
    return {instance: value for instance, value in {**former, **changed}.items() if value is not None}


def _checked(texts: Texts) -> Texts:
    if len(texts.get("display_name") or "") > MAX_DISPLAY_NAME:
        raise BadRequest(f"a display name has at most {MAX_DISPLAY_NAME} characters")
    if len(texts.get("description") or "") > MAX_DESCRIPTION:
        raise BadRequest(f"a description has at most {MAX_DESCRIPTION} characters")
    return texts
