import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from kaa_cli.watch import EVENTS, Wanted, line_of
from kaa_common.avro import encode
from kaa_common.bus import BusMessage, connect
from kaa_common.messages.cop import REPLICA_ALIVE, ReplicaEvent
from kaa_common.messages.efe import ENDPOINT_MATCHED, EndpointMatchedFilterEvent
from kaa_common.messages.elce import (
    CONNECTED,
    TRAFFIC_REPORT,
    UNREGISTERED,
    ConnectedEvent,
    TrafficReportEvent,
    TrafficStat,
    UnregisteredEvent,
)
from kaa_common.messages.eme import METADATA_UPDATED, MetadataKeyUpdatedDto, MetadataUpdatedEvent
from kaa_common.messages.scmp import CONFIGURATION_UPSERTED, BroadcastConfigurationUpdateEvent
from support.nats_server import NatsServer

AT = 1_500_000_000_123
ANY = Wanted()


def header(**names: str) -> dict[str, Any]:
    return {"correlation_id": "c", "timestamp": AT, "originator_replica_id": "r"} | names


def message(subject: str, record: Any, headers: dict[str, str] | None = None) -> BusMessage:
    return BusMessage(subject, encode(record), headers=headers or {})


UPDATED = message(
    METADATA_UPDATED.subject("epr"),
    MetadataUpdatedEvent(
        **header(app_version_name="kettle-v1", endpoint_id="e1"),
        removed={"a": "1"},
        added={"b": None},
        updated={"c": MetadataKeyUpdatedDto(new_value='"é\x1b"', old_value="2")},
    ),
    {"Nats-Msg-Id": "e1:7:metadata.updated", "Kaa-Endpoint-Revision": "7"},
)
OTHERS = {
    "connected": message(CONNECTED.subject("kpc"), ConnectedEvent(**header(), endpoints={"e1": "kettle-v1"})),
    "matched": message(
        ENDPOINT_MATCHED.subject("epr", "f1"),
        EndpointMatchedFilterEvent(
            **header(application_name="kettle", app_version_name="kettle-v1", filter_id="f1", endpoint_id="e1"),
            filter_name=None,
        ),
    ),
    "traffic": message(
        TRAFFIC_REPORT.subject("kpc"),
        TrafficReportEvent(
            **header(), time_from=1, time_to=2, tenant_traffic_stats={"t": {"kettle": {"e1": TrafficStat()}}}
        ),
    ),
}


def test_an_event_is_a_line_of_its_time_its_name_and_its_fields() -> None:
    assert line_of(UPDATED, ANY, as_json=False) == (
        "2017-07-14T02:40:00.123Z epr endpoint.metadata.updated appVersionName=kettle-v1 endpointId=e1 "
        'removed={"a":"1"} added={"b":null} updated={"c":{"newValue":"\\"é\\u001b\\"","oldValue":"2"}} revision=7'
    )


def test_as_json_it_is_the_whole_event() -> None:
    whole = json.loads(line_of(UPDATED, ANY, as_json=True) or "")
    assert whole["subject"] == "kaa.v1.events.epr.endpoint.metadata.updated"
    assert whole["headers"]["Nats-Msg-Id"] == "e1:7:metadata.updated"
    assert whole["record"]["updated"] == {"c": {"newValue": '"é\x1b"', "oldValue": "2"}}
    assert whole["record"]["correlationId"] == "c"


@pytest.mark.parametrize("shown", [UPDATED, *OTHERS.values()], ids=["updated", *OTHERS])
def test_events_are_filtered_by_endpoint_and_application(shown: BusMessage) -> None:
    for wanted in (Wanted(endpoint="e1"), Wanted(application="kettle"), Wanted(endpoint="e1", application="kettle")):
        assert line_of(shown, wanted, as_json=False)
    for unwanted in (Wanted(endpoint="e2"), Wanted(application="ket"), Wanted(endpoint="e1", application="x")):
        assert line_of(shown, unwanted, as_json=False) is None


def test_an_event_about_an_application_is_about_no_endpoint() -> None:
    changed = message(
        CONFIGURATION_UPSERTED.subject("tekton"), BroadcastConfigurationUpdateEvent(**header(app_name="kettle"))
    )
    assert line_of(changed, Wanted(application="kettle"), as_json=False)
    assert line_of(changed, Wanted(endpoint="e1"), as_json=False) is None


def test_signs_of_life_and_what_is_no_event_of_ours_are_left_out() -> None:
    alive = message(REPLICA_ALIVE.subject("kpc"), ReplicaEvent(**header()))
    assert line_of(alive, ANY, as_json=False) is None
    assert line_of(BusMessage("kaa.v1.events.other.thing.happened", b""), ANY, as_json=False) is None
    assert line_of(BusMessage("kaa.v1.events.a b", b""), ANY, as_json=False) is None


def test_what_cannot_be_decoded_is_told() -> None:
    line = line_of(BusMessage(UPDATED.subject, b"\xff"), ANY, as_json=False)
    assert line is not None
    assert "MetadataUpdatedEvent" in line


def test_all_events_have_a_subject_of_their_own() -> None:
    assert len({event.path for event in EVENTS}) == len(EVENTS)


async def test_it_shows_what_is_published_until_it_has_seen_enough(nats_server: NatsServer) -> None:
    command = [sys.executable, "-m", "kaa_cli", "watch", "--nats-url", nats_server.url, "--endpoint", "e-watched"]
    record = UnregisteredEvent(**header(app_version_name="kettle-v1", endpoint_id="e-watched"))
    watching = await asyncio.create_subprocess_exec(
        *command, "--count", "2", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert watching.stdout is not None
    assert watching.stderr is not None
    async with asyncio.timeout(30), connect(nats_server.url, "test") as bus:
        while b"watching" not in await watching.stderr.readline():
            pass
        for _ in range(3):
            await bus.publish(UNREGISTERED.subject("epr"), encode(record))
        await bus.flush(5)
        lines = (await watching.stdout.read()).splitlines()
        assert await watching.wait() == 0
    assert [json.loads(line)["record"]["endpointId"] for line in lines] == ["e-watched"] * 2


def test_an_address_that_names_no_server_is_one_sentence() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "kaa_cli", "watch", "--nats-url", "http://x"], capture_output=True, text=True, timeout=30
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("kaa: NATS_URL must name servers")
