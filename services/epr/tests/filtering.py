"""What the tests of filters share."""

import asyncio
from typing import Any

from epr.filters.documents import AWAITING_PASS, FILTERS
from epr.filters.filters import FilterTexts
from epr.filters.model import Filter, Status
from kaa_common.messages.efe import EndpointMatchedFilterEvent, EndpointUnmatchedFilterEvent
from kaa_common.store import DocumentStore
from support.waiting import POLL, WITHIN

from .conftest import Events, Replica


def texts(mongo_query: dict[str, Any], name: str | None = None) -> FilterTexts:
    return FilterTexts(name=name, description=None, mongo_query=mongo_query)


async def active(replica: Replica, filter_id: str) -> Filter:
    """The filter, as soon as it is active."""
    async with asyncio.timeout(WITHIN):
        while (found := await replica.filters.get(filter_id)).status is not Status.ACTIVE:
            await asyncio.sleep(POLL)
    return found


async def made(replica: Replica, mongo_query: dict[str, Any], name: str | None = None) -> str:
    """The id of a new filter of the kettles, as soon as it is active."""
    created = await replica.filters.create("kettle", texts(mongo_query, name))
    return (await active(replica, created.id)).id


async def all_settled(store: DocumentStore) -> None:
    """No filter waits for a pass any more."""
    async with asyncio.timeout(WITHIN):
        while await store.count(FILTERS, index=AWAITING_PASS, equals=[True]):
            await asyncio.sleep(POLL)


def of_filters(events: Events, endpoint_id: str) -> list[tuple[str, bool]]:
    """Filter id and whether it matched, of each event once, in the order in which they came first."""
    first = dict(reversed([*zip(events.ids, events.records, strict=True)]))
    return [
        (record.filter_id, isinstance(record, EndpointMatchedFilterEvent))
        for record in (first[message_id] for message_id in dict.fromkeys(events.ids))
        if isinstance(record, EndpointMatchedFilterEvent | EndpointUnmatchedFilterEvent)
        and record.endpoint_id == endpoint_id
    ]
