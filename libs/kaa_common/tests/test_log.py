import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from kaa_common import log
from kaa_common.log import JsonFormatter, TextFormatter


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("kaa_common.tests.log")
    logger.addHandler(handler)
    yield logger, written
    logger.removeHandler(handler)


def test_a_record_is_one_json_object_with_its_correlation_id(logger: tuple[logging.Logger, io.StringIO]) -> None:
    token = log.correlation_id.set("c-1")
    logger[0].warning("line %d\n\u00e9", 1)
    log.correlation_id.reset(token)

    (line,) = logger[1].getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "level": "WARNING",
        "logger": "kaa_common.tests.log",
        "message": "line 1\n\u00e9",
        "correlationId": "c-1",
    }


def test_outside_of_a_request_there_is_no_correlation_id(logger: tuple[logging.Logger, io.StringIO]) -> None:
    logger[0].warning("started")

    assert "correlationId" not in json.loads(logger[1].getvalue())


def test_an_error_is_part_of_its_record() -> None:
    try:
        raise ValueError("lone \ud800 surrogate")
    except ValueError:
        failed = sys.exc_info()
    # Formatted by itself: what is logged becomes part of the test's report, which cannot carry lone surrogates.
    record = logging.LogRecord("kaa", logging.ERROR, "", 0, "failed on \ud800", (), failed)

    line = JsonFormatter().format(record)

    assert "ValueError" in json.loads(line)["error"]
    assert line.isascii()


def test_a_line_of_text_ends_with_its_correlation_id() -> None:
    record = logging.LogRecord("kaa", logging.WARNING, "", 0, "%d lines", (2,), None)
    assert TextFormatter().format(record).endswith("WARNING kaa: 2 lines")
    token = log.correlation_id.set("c-1")
    assert TextFormatter().format(record).endswith("WARNING kaa: 2 lines [c-1]")
    log.correlation_id.reset(token)
