from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from epr import listing
from epr.filters.documents import FILTERS
from epr.filters.filters import Filters
from epr.listing import Listing
from epr.model import Endpoint, State
from epr.register import BY_TERM, ENDPOINTS, Register
from epr.search import Search
from kaa_common.bus import NatsBus
from kaa_common.errors import BadRequest, Conflict, NotFound
from kaa_common.outbox import open_outbox
from kaa_common.store import DocumentStore

from .conftest import Replica, on_one_store
from .filtering import made, texts

CITIES = ("Kyiv", "Lviv", "Odesa")


def endpoint(number: int, metadata: dict[str, Any] | None = None) -> Endpoint:
    application, version = ("kettle", "toaster")[number % 2], number % 3 + 1
    return Endpoint(
        id=f"id-{number:03}",
        revision=number + 1,
        state=State.REGISTERED,
        tenant="tenant",
        application=application,
        app_version=f"{application}-v{version}",
        app_version_at=number,
        created_at=number,
        metadata={"city": CITIES[number % 3], "number": number} if metadata is None else metadata,
    )


async def insert(store: DocumentStore, *endpoints: Endpoint) -> None:
    for new in endpoints:
        await store.insert(ENDPOINTS, new.to_document())


@pytest.fixture
async def pages(epr: Replica, store: DocumentStore) -> Listing:
    """Of 60 endpoints in two applications, and what is not to be listed."""
    await insert(
        store,
        *map(endpoint, range(60)),
        Endpoint(
            id="reserved",
            revision=1,
            state=State.RESERVED,
            tenant="tenant",
            application="kettle",
            app_version="kettle-v1",
            app_version_at=1,
            created_at=1,
            metadata={"city": "Kyiv"},
        ),
    )
    return epr.api.listing


def ids(endpoints: Sequence[Endpoint]) -> list[str]:
    return [found.id for found in endpoints]


def matching(search: Search) -> set[str]:
    """What a search for these is to find, from the endpoints themselves."""
    found = set()
    for candidate in map(endpoint, range(60)):
        city = search.metadata_filter.removeprefix("city=") or candidate.metadata["city"]
        if (
            search.application in (None, candidate.application)
            and search.app_version in (None, candidate.app_version)
            and city == candidate.metadata["city"]
            and search.multi_filter in candidate.id
        ):
            found.add(candidate.id)
    return found


SEARCHES = [
    Search(application=application, app_version=app_version, metadata_filter=metadata_filter, multi_filter=multi_filter)
    for application in (None, "kettle", "unknown")
    for app_version in (None, "kettle-v1", "toaster-v1")
    for metadata_filter in ("", "city=Kyiv")
    for multi_filter in ("", "id-01")
]


async def test_pages_show_everything_once_by_offset_and_by_cursor(pages: Listing) -> None:
    for search in SEARCHES:
        expected = matching(search)
        by_offset: list[str] = []
        by_cursor: list[str] = []
        cursor: str | None = None
        while True:
            page = await pages.page(search, offset=len(by_offset), limit=7)
            by_offset += ids(page.endpoints)
            if page.total != len(expected) or not page.endpoints:
                break
        assert page.total == len(expected), search
        while True:
            page = await pages.page(search, offset=0, limit=7, after=cursor)
            by_cursor += ids(page.endpoints)
            if (cursor := page.next) is None:
                break
        assert by_offset == by_cursor, search
        assert len(by_offset) == len(expected)
        assert set(by_offset) == expected


async def test_a_list_is_ordered_by_application_version_and_age(pages: Listing) -> None:
    found = (await pages.page(Search(), offset=0, limit=100)).endpoints
    keys = [(e.application, e.app_version, e.created_at) for e in found]
    assert all(one < two for one, two in pairwise(keys))


@on_one_store
async def test_a_filter_is_listed_when_it_is_active(epr: Replica) -> None:
    kyiv = [await epr.endpoint({"city": "Kyiv", "n": n}) for n in range(3)]
    await epr.endpoint({"city": "Lviv"})
    filter_id = await made(epr, {"metadata.city": "Kyiv"})

    async def found(**more: Any) -> set[str]:
        return set(ids((await epr.api.listing.page(Search(filter_id=filter_id, **more), offset=0, limit=9)).endpoints))

    assert await found() == {e.id for e in kyiv}
    assert await found(application="kettle", app_version="kettle-v1") == {e.id for e in kyiv}
    assert await found(app_version="kettle-v2") == set()
    assert await found(metadata_filter="n=1") == {kyiv[1].id}
    assert await found(metadata_filter="city=Kyiv") == {e.id for e in kyiv}
    with pytest.raises(NotFound):
        await found(application="toaster")
    with pytest.raises(NotFound):
        await epr.api.listing.page(Search(filter_id="unknown"), offset=0, limit=9)


@on_one_store
async def test_a_pending_filter_cannot_be_searched_for(store: DocumentStore, bus: NatsBus) -> None:
    async with open_outbox(store, bus, ENDPOINTS) as outbox, open_outbox(store, bus, FILTERS) as filter_outbox:
        register = Register(store, outbox, tenant="tenant", instance="epr", replica_id="replica")
        # Nobody makes it active.
        filters = Filters(store, filter_outbox, lambda: None, tenant="tenant", instance="epr", replica_id="replica")
        pending = await filters.create("kettle", texts({"metadata.city": "Kyiv"}))
        pages = Listing(store, register, filters, tenant="tenant")
        for wanted in (
            pages.page(Search(filter_id=pending.id), offset=0, limit=9),
            pages.page_of(["id-1"], Search(filter_id=pending.id), offset=0, limit=9),
        ):
            with pytest.raises(Conflict, match="pending"):
                await wanted


async def test_among_given_endpoints_the_same_is_found(pages: Listing) -> None:
    wanted = [f"id-{number:03}" for number in (5, 3, 12, 99, 0, 18)]
    for search in SEARCHES:
        page = await pages.page_of(wanted, search, offset=1, limit=2)
        expected = [name for name in wanted if name in matching(search)]
        assert (page.total, ids(page.endpoints)) == (len(expected), expected[1:3])


@on_one_store
async def test_a_large_count_is_used_again_for_a_while(
    pages: Listing, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "COUNTED_EXACTLY", 59)
    assert (await pages.page(Search(), offset=0, limit=9)).total == 60
    assert (await pages.page(Search(application="kettle"), offset=0, limit=9)).total == 30
    await insert(store, endpoint(60), endpoint(62))
    assert (await pages.page(Search(), offset=0, limit=9)).total == 60
    assert (await pages.page(Search(application="kettle"), offset=0, limit=9)).total == 32
    assert (await pages.page(Search(), offset=0, limit=70)).total == 62, "a page that is not full says it all"


@on_one_store
async def test_the_end_of_a_page_far_behind_is_where_the_next_one_starts(
    pages: Listing, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "REMEMBERED_FROM", 20)
    for search in (Search(), Search(multi_filter="id-0")):
        first = await pages.page(search, offset=0, limit=20)
        second = await pages.page(search, offset=20, limit=20)
        assert len({*ids(first.endpoints), *ids(second.endpoints)}) == 40
    document = (await store.get(ENDPOINTS, [first.endpoints[0].id]))[first.endpoints[0].id]
    await store.delete(ENDPOINTS, document["_id"], None)
    again = await pages.page(search, offset=20, limit=20)
    assert ids(again.endpoints) == ids(second.endpoints), "nobody who reads on misses one"


@on_one_store
async def test_a_cursor_is_one_that_was_given(pages: Listing) -> None:
    for cursor in ("", "x", "AAAA", "W10", "WzFd", "ÿ", "bm90IGpzb24"):
        with pytest.raises(BadRequest, match="after"):
            await pages.page(Search(), offset=0, limit=9, after=cursor)


async def test_endpoints_stored_without_terms_are_found_and_get_them(pages: Listing, store: DocumentStore) -> None:
    documents = await store.get(ENDPOINTS, ["id-000", "id-006"])
    for document in documents.values():
        del document["terms"]
        assert await store.replace(ENDPOINTS, document, document["revision"])
    search = Search(metadata_filter="city=Kyiv")
    assert set(ids((await pages.page(search, offset=0, limit=99)).endpoints)) == matching(search)

    await pages.index_terms()

    assert not await store.count(ENDPOINTS, index=BY_TERM, equals=["registered", "tenant", None])
    assert set(ids((await pages.page(search, offset=0, limit=99)).endpoints)) == matching(search)
    assert (await store.get(ENDPOINTS, ["id-000"]))["id-000"]["revision"] == documents["id-000"]["revision"]


@on_one_store
async def test_an_endpoint_with_too_many_terms_is_found(pages: Listing, store: DocumentStore) -> None:
    await insert(store, endpoint(60, {"tags": ["Kyiv", *map(str, range(2000))]}))
    page = await pages.page(Search(metadata_filter="tags=Kyiv"), offset=0, limit=9)
    assert ids(page.endpoints) == ["id-060"]
