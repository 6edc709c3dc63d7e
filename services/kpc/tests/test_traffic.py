"""Traffic reports, heard over a real bus."""

import asyncio
from collections.abc import Callable

import pytest

from kaa_common.app_versions import AppVersion
from kaa_common.errors import Unavailable
from kaa_common.messages.elce import TRAFFIC_REPORT, TrafficReportEvent, TrafficStat
from kaa_common.rpc import Rpc
from kpc import traffic as module
from kpc.traffic import Traffic, reporting
from support.waiting import until

from .conftest import Backend

VERSION = AppVersion(name="app-v1", app_name="app", tenant_id="default", config={})


@pytest.fixture
async def reports(backend: Backend) -> list[TrafficReportEvent]:
    heard: list[TrafficReportEvent] = []

    async def hear(event: TrafficReportEvent) -> None:
        heard.append(event)

    await backend.rpc.listen(TRAFFIC_REPORT, backend.kpc, hear)
    await backend.rpc.bus.flush(5)
    return heard


def ticking(*times: int) -> Callable[[], int]:
    return iter(times).__next__


async def test_a_report_has_what_each_endpoint_sent_and_was_sent_since_the_last(
    edge_rpc: Rpc, backend: Backend, reports: list[TrafficReportEvent]
) -> None:
    traffic = Traffic(edge_rpc, backend.kpc, 60, ticking(10, 20, 30))
    traffic.received(VERSION, "a", 3)
    traffic.received(VERSION, "a", 4)
    traffic.sent("default", "app", "a", 10)
    traffic.sent("default", "another", "b", 0)
    await traffic.report()
    traffic.received(VERSION, "a", 1)
    await traffic.report()
    await until(lambda: len(reports) == 2)

    first, second = reports
    assert first.tenant_traffic_stats == {
        "default": {
            "app": {
                "a": TrafficStat(
                    total_received_payload=7,
                    total_received_message_count=2,
                    total_sent_payload=10,
                    total_sent_message_count=1,
                )
            },
            "another": {"b": TrafficStat(total_sent_message_count=1)},
        }
    }
    assert (first.time_from, first.time_to, second.time_from, second.time_to) == (10, 20, 20, 30)
    assert first.originator_replica_id == edge_rpc.replica_id
    assert second.tenant_traffic_stats["default"]["app"]["a"].total_received_payload == 1


async def test_a_report_that_the_bus_does_not_take_is_part_of_the_next(
    edge_rpc: Rpc, backend: Backend, reports: list[TrafficReportEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic(edge_rpc, backend.kpc, 60, ticking(10, 20, 30))
    traffic.received(VERSION, "a", 3)

    async def refuse(*_: object) -> None:
        raise Unavailable

    with monkeypatch.context() as away:
        away.setattr(edge_rpc, "emit", refuse)
        with pytest.raises(Unavailable):
            await traffic.report()
    traffic.received(VERSION, "a", 4)
    await traffic.report()
    await until(lambda: bool(reports))
    (report,) = reports
    assert (report.time_from, report.time_to) == (10, 30)
    assert report.tenant_traffic_stats["default"]["app"]["a"].total_received_payload == 7


async def test_many_endpoints_are_reported_in_parts_and_before_there_are_too_many(
    edge_rpc: Rpc, backend: Backend, reports: list[TrafficReportEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_IN_EVENT", 4)
    monkeypatch.setattr(module, "MAX_ENDPOINTS", 12)
    traffic = Traffic(edge_rpc, backend.kpc, 1000)
    async with reporting(traffic):
        await asyncio.sleep(0)
        for number in range(20):
            traffic.received(VERSION, f"endpoint-{number}", 1)
        assert len(traffic._counts) == 12
        await until(lambda: not traffic._counts)
    await until(lambda: len(reports) == 3)
    assert [len(report.tenant_traffic_stats["default"]["app"]) for report in reports] == [4, 4, 4]


async def test_what_was_counted_last_is_reported_at_the_end_and_nothing_when_there_is_nothing(
    edge_rpc: Rpc, backend: Backend, reports: list[TrafficReportEvent]
) -> None:
    traffic = Traffic(edge_rpc, backend.kpc, 1000)
    async with reporting(traffic):
        await asyncio.sleep(0)
        traffic.received(VERSION, "a", 3)
    await until(lambda: len(reports) == 1)
    assert reports[0].tenant_traffic_stats["default"]["app"]["a"].total_received_message_count == 1
