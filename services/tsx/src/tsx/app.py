"""The time synchronization extension: tells a device what time it is, and how far ahead of UTC its time zone is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kaa_common import extension, jsontext
from kaa_common.clock import now_ms
from kaa_common.errors import BadRequest
from kaa_common.messages.esp import ClientData
from kaa_common.service import Platform, Service
from kaa_common.settings import load
from tsx.settings import TsxSettings


async def tell_time(request: ClientData) -> bytes:
    """The answer to a device; an empty payload asks for UTC alone."""
    wanted = jsontext.parse(request.payload or b"{}")
    timestamp = now_ms()
    offset = offset_at(timestamp, wanted)
    return jsontext.dump({"timestamp": timestamp, **({"offset": offset} if offset else {})})


def offset_at(timestamp: int, wanted: object) -> int:
    """Seconds that the time zone asked for is ahead of UTC at that time. Raises BadRequest."""
    match wanted:
        case {"timezone": str(name)}:
            try:
                offset = datetime.fromtimestamp(timestamp / 1000, ZoneInfo(name)).utcoffset()
            except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
                raise BadRequest("unknown timezone") from exc
            return int(offset.total_seconds()) if offset else 0
        case {"timezone": _}:
            raise BadRequest("timezone is not a string")
        case {}:
            return 0
    raise BadRequest("payload is not a JSON object")


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    settings = load(TsxSettings, platform.environ, "TSX_")
    await extension.serve(platform.rpc, settings.instance, tell_time)
    yield


SERVICE = Service("tsx", work)
