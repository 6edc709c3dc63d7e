"""Which extension instances devices may address, and whether each is told which endpoint speaks (1/KP) [pure].

Written as `epmx,tsx:unaware`: the messages of an endpoint-aware extension name an endpoint by its token, those of an
endpoint-unaware one have no token level, and say nothing about who sent them.
"""

UNAWARE = ":unaware"
PATTERN = r"^[A-Za-z0-9_-]+(:unaware)?(,[A-Za-z0-9_-]+(:unaware)?)*$"


def parse_extensions(text: str) -> dict[str, bool]:
    """Extension instance to whether it is endpoint-aware. The text matches PATTERN."""
    return {name.removesuffix(UNAWARE): not name.endswith(UNAWARE) for name in text.split(",")}
