"""Settings of the application register: variables with the prefix TEKTON_."""

from pathlib import Path

from kaa_common.settings import Settings
from tekton.service_instances import OF_THIS_PLATFORM


class TektonSettings(Settings):
    service_instances: Path = OF_THIS_PLATFORM
    """JSON file of the service instances that the platform consists of, in place of those of this one."""
