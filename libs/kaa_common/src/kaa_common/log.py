"""Structured logging: one JSON object (or one readable line) a record, each with the correlation id being handled.

Levels: INFO start, stop, connect, disconnect; WARNING something failed and was coped with; ERROR somebody must look;
DEBUG one line a message. No record ever carries a token, a password or a payload.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""The request being handled by the current task; empty outside of one."""

Format = Literal["json", "text"]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message; correlationId and error if any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := correlation_id.get():
            line["correlationId"] = current
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """One readable line, the correlation id in brackets behind it; an error on the lines below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # the standard library's name
        line = super().formatMessage(record)
        current = correlation_id.get()
        return f"{line} [{current}]" if current else line


def configure(level: str, log_format: Format) -> None:
    """Send every record of the process to stderr. Called once, by what starts the process."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # It reports each failed attempt; we report the state, once.
    logging.getLogger("pymongo").setLevel(logging.WARNING)
    # It reports each request; of fetching an issuer's keys we report what fails.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It reports each of its own steps, and warns of each malformed request that anybody may send.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
