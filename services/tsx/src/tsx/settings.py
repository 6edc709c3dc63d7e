"""Settings of the time synchronization extension: variables with the prefix TSX_."""

from kaa_common.settings import Settings


class TsxSettings(Settings):
    instance: str = "tsx"
    """Name of the extension, as devices have it in their paths."""
