"""The service instances that the platform consists of, as those who configure applications are told of them.

The list is a file of JSON as Kaa's `service-instances` has it, by instance name: `service_instances.json` unless the
installation names one of its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from kaa_common.errors import BadRequest, NotFound, StartError
from kaa_common.rest import Body
from kaa_common.subjects import checked_name

OF_THIS_PLATFORM = Path(__file__).with_name("service_instances.json")

Schema = dict[str, Any]  # Any: a JSON schema


class ServiceInstance(Body):
    """A service instance as the file has it."""

    model_config = ConfigDict(frozen=True)

    service_name: str = Field(examples=["EPMX"])
    service_group: str = Field(examples=["Identity management"])
    description: str | None = None
    url_prefix: str | None = Field(None, examples=["/epr"], description="Of its REST interface, where it has one.")
    app_configuration_schema: Schema | None = None
    app_version_configuration_schema: Schema | None = None


class ServiceInstances:
    """The list."""

    def __init__(self, by_name: Mapping[str, ServiceInstance]) -> None:
        self._by_name = by_name

    @classmethod
    def read(cls, file: Path) -> "ServiceInstances":
        """Raises StartError."""
        try:
            by_name = TypeAdapter(dict[str, ServiceInstance]).validate_json(file.read_bytes())
            return cls({checked_name(name): instance for name, instance in by_name.items()})
        except (OSError, ValidationError, BadRequest) as exc:
            raise StartError(f"{file} is no list of service instances: {' '.join(str(exc).split())}") from exc

    def get(self, name: str) -> ServiceInstance:
        """Raises NotFound."""
        if name not in self._by_name:
            raise NotFound("no service instance with this name")
        return self._by_name[name]

    def names(self) -> list[str]:
        return list(self._by_name)
