"""The bytes of the messages, written out by hand from the RFCs and the Avro specification."""

import dataclasses
from typing import Any

import pytest

from kaa_common.avro import decode, encode, leading_string, schema_of
from kaa_common.messages.declared import Event
from kaa_common.messages.ecap import (
    EndpointTokenRevokedEvent,
    EndpointTokenValidationRequest,
    EndpointTokenValidationResponse,
)
from kaa_common.messages.efe import EndpointFilterActivatedEvent
from kaa_common.messages.efmp import EndpointListByFilterResponse
from kaa_common.messages.elce import ConnectedEvent, TrafficReportEvent, TrafficStat
from kaa_common.messages.eme import MetadataKeyUpdatedDto, MetadataUpdatedEvent
from kaa_common.messages.epmmp import EndpointMetadataGetRequest, EndpointMetadataGetResponse
from kaa_common.messages.esp import ClientData, ExtensionData
from kaa_common.messages.protocols import PROTOCOLS, records
from kaa_common.messages.scmp import BroadcastConfigurationUpdateEvent
from support.examples import example_of

HEADER: Any = {"correlation_id": "c", "timestamp": 1, "timeout": 2}
HEADER_BYTES = b"\x02c" + b"\x02" + b"\x04"

GOLDEN = [
    (
        ClientData(
            **HEADER,
            app_version_name="a-v1",
            endpoint_id="e",
            resource_path="/get",
            request_id=0,
            payload=b"{}",
            config_name="k",
        ),
        HEADER_BYTES + b"\x08a-v1" + b"\x00\x02e" + b"\x08/get" + b"\x00\x00" + b"\x04{}" + b"\x02\x02k",
    ),
    (
        ClientData(**HEADER, app_version_name="a", endpoint_id=None, resource_path="", request_id=None, payload=b""),
        HEADER_BYTES + b"\x02a" + b"\x02" + b"\x00" + b"\x02" + b"\x00" + b"\x00",
    ),
    (
        ExtensionData(
            **HEADER,
            app_version_name=None,
            extension_instance_name="epmx",
            endpoint_id=None,
            resource_path="/get",
            request_id=2147483647,
            payload=None,
            status_code=404,
            reason_phrase="no",
        ),
        HEADER_BYTES
        + (b"\x02" + b"\x00\x08epmx" + b"\x02")
        + (b"\x08/get" + b"\x00\xfe\xff\xff\xff\x0f" + b"\x02")
        + (b"\xa8\x06" + b"\x02\x04no"),
    ),
    (
        ExtensionData(
            **HEADER,
            app_version_name="a",
            extension_instance_name=None,
            endpoint_id="e",
            resource_path="",
            request_id=None,
            payload=b"{}",
            status_code=200,
        ),
        HEADER_BYTES + b"\x00\x02a\x02\x00\x02e" + b"\x00" + b"\x02" + b"\x00\x04{}" + b"\x90\x03" + b"\x00",
    ),
    (
        EndpointTokenValidationRequest(**HEADER, app_name="app", token="tok"),
        HEADER_BYTES + b"\x06app" + b"\x06tok",
    ),
    (
        EndpointTokenValidationResponse(**HEADER, token_id="t", endpoint_id="e", status_code=200),
        HEADER_BYTES + b"\x00\x02t" + b"\x00\x02e" + b"\x90\x03" + b"\x00",
    ),
    (
        EndpointTokenValidationResponse(**HEADER, token_id=None, endpoint_id=None, status_code=403, reason_phrase="r"),
        HEADER_BYTES + b"\x02" + b"\x02" + b"\xa6\x06" + b"\x02\x02r",
    ),
    (
        EndpointTokenRevokedEvent(
            **HEADER, app_name="a", endpoint_id="e", token_ids=("1", "2"), originator_replica_id="r"
        ),
        HEADER_BYTES + b"\x02a\x02e" + (b"\x04" + b"\x021\x022" + b"\x00") + b"\x02r",
    ),
    (
        EndpointMetadataGetRequest(**HEADER, endpoint_id="e", include=("k",), include_metadata=False),
        HEADER_BYTES + b"\x02e" + b"\x02\x02k\x00" + b"\x00",
    ),
    (
        EndpointMetadataGetResponse(**HEADER, endpoint_id="e", e_tag="7", payload=b"{}", status_code=200),
        HEADER_BYTES + b"\x02e" + b"\x02\x027" + b"\x02\x04{}" + b"\x90\x03" + b"\x00" + b"\x00",
    ),
    (
        EndpointListByFilterResponse(
            **HEADER, filter_id="f", app_versions_to_endpoints={"v": ("e",), "w": ()}, status_code=200
        ),
        HEADER_BYTES + b"\x02f" + (b"\x04" + b"\x02v\x02\x02e\x00" + b"\x02w\x00" + b"\x00") + b"\x90\x03" + b"\x00",
    ),
    (
        ConnectedEvent(**HEADER, endpoints={"e": "v"}, originator_replica_id="r"),
        HEADER_BYTES + b"\x02\x02e\x02v\x00" + b"\x02r",
    ),
    (
        MetadataUpdatedEvent(
            **HEADER,
            app_version_name="v",
            endpoint_id="e",
            removed={"x": None},
            added={"y": "1"},
            updated={"z": MetadataKeyUpdatedDto(new_value="2", old_value=None)},
            originator_replica_id="r",
        ),
        HEADER_BYTES
        + b"\x02v\x02e"
        + b"\x02\x02x\x00\x00"
        + b"\x02\x02y\x02\x021\x00"
        + b"\x02\x02z\x02\x022\x00\x00"
        + b"\x02r",
    ),
    (
        # 9/ELCE: this one ends with what the others start with.
        TrafficReportEvent(
            tenant_traffic_stats={"t": {"a": {"e": TrafficStat(total_received_payload=1, total_sent_payload=2)}}},
            time_from=3,
            time_to=4,
            originator_replica_id="r",
            **HEADER,
        ),
        b"\x02\x02t\x02\x02a\x02\x02e" + b"\x02\x04\x00\x00" + b"\x00\x00\x00" + b"\x06\x08" + b"\x02c\x02r\x02\x04",
    ),
    (
        # 18/EFE: these start with the timestamp.
        EndpointFilterActivatedEvent(
            **HEADER, originator_replica_id="r", filter_id="f", application_name="a", filter_name=None
        ),
        b"\x02\x04\x02c" + b"\x02r\x02f\x02a\x00",
    ),
    (
        BroadcastConfigurationUpdateEvent(
            correlation_id="c", timestamp=1, originator_replica_id="r", tenant_id="t", app_name=None
        ),
        b"\x02c\x02" + b"\x02r" + b"\x02\x02t" + b"\x00" + b"\x00",
    ),
]
DEFAULTS_ON_THE_WIRE = {True: b"\x01", 500: b"\xe8\x07"}
"""All others, null, empty and 0, are a zero."""
ANSWERS = [endpoint.response for protocol in PROTOCOLS for endpoint in protocol.endpoints]
EVENTS = [event for protocol in PROTOCOLS for event in protocol.events]


def name_of(value: Any) -> str:
    return "" if isinstance(value, bytes) else type(value).__name__


@pytest.mark.parametrize(
    ("record", "datum"), GOLDEN, ids=lambda value: "" if isinstance(value, bytes) else name_of(value)
)
def test_a_record_is_these_bytes_on_the_wire(record: Any, datum: bytes) -> None:
    assert encode(record) == datum
    assert decode(type(record), datum) == record


@pytest.mark.parametrize("nulls", [False, True], ids=["values", "nulls"])
@pytest.mark.parametrize("record", records(), ids=lambda record: record.__name__)
def test_every_record_survives_the_wire(record: type[Any], nulls: bool) -> None:
    example = example_of(record, nulls=nulls)

    assert decode(record, encode(example)) == example


@pytest.mark.parametrize("record", records(), ids=lambda record: record.__name__)
def test_what_a_newer_service_appends_is_ignored(record: type[Any]) -> None:
    example = example_of(record)

    assert decode(record, encode(example) + b"\x02appended\xff") == example


@pytest.mark.parametrize("record", records(), ids=lambda record: record.__name__)
def test_what_an_older_service_does_not_know_has_its_default(record: type[Any]) -> None:
    appended = []
    for field in reversed(dataclasses.fields(record)):
        if field.default is dataclasses.MISSING:
            break
        appended.append(field)
    defaults = {field.name: field.default for field in appended}
    example = dataclasses.replace(example_of(record), **defaults)
    older = encode(example)
    for field in appended:
        default = DEFAULTS_ON_THE_WIRE.get(field.default, b"\x00")
        assert older.endswith(default)
        older = older.removesuffix(default)
        assert decode(record, older) == example


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
def test_every_answer_starts_with_the_correlation_id_it_is_matched_by(answer: type[Any]) -> None:
    example = example_of(answer)

    assert schema_of(answer)["fields"][0]["name"] == "correlationId"
    assert leading_string(encode(example)) == example.correlation_id


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: ".".join(event.path))
def test_a_listener_of_an_event_hears_it_under_any_name(event: Event[Any]) -> None:
    names = ["name"] * event.path.count("*")
    subject, wildcard = event.subject("epr", *names).split("."), event.wildcard("epr").split(".")

    assert [part if part != "*" else "name" for part in wildcard] == subject
    assert event.wildcard().partition(".events.")[2].startswith("*.")


def test_an_event_without_the_names_of_its_subject_is_refused() -> None:
    event = next(event for event in EVENTS if "*" in event.path)
    with pytest.raises(ValueError, match="names"):
        event.subject("epr")
    with pytest.raises(ValueError, match="names"):
        event.subject("epr", "one", "two")


def test_no_two_messages_share_a_subject() -> None:
    subjects = [endpoint.subject("i") for protocol in PROTOCOLS for endpoint in protocol.endpoints]
    subjects += [event.wildcard("i") for event in EVENTS]

    assert len(subjects) == len(set(subjects))
