"""Pages of endpoints: which index answers a search, where a page starts, how many there are in all.

A search is answered through the index that says most of it: filter, term, application version, application. What the
index says completely is listed in its order, anything else in the order of ids. A page far behind the first is found
from the end of the page before it: by the caller with the cursor of that page, or here, where the ends of pages are
remembered for a while. So neither depends on how many endpoints are skipped.

Up to a limit endpoints are counted on each request; beyond it a count is used again for some seconds.
"""

import asyncio
import logging
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cachetools import TTLCache

from epr.filters.filters import Filters
from epr.model import Endpoint, State
from epr.register import BY_APP_VERSION, BY_APPLICATION, BY_FILTER, BY_TERM, ENDPOINTS, Register
from epr.search import EVERYTHING, Conditions, Search, conditions_of, narrowed
from epr.terms import INCOMPLETE, terms_of
from kaa_common import jsontext
from kaa_common.errors import BadRequest, NotFound, Unavailable
from kaa_common.serial import SerialByKey
from kaa_common.store import Document, DocumentStore, Index, Matches, Query, Scalar

logger = logging.getLogger(__name__)

COUNTED_EXACTLY: Final = 10_000
"""Entries of an index that are counted on each request; that takes some 5 ms."""
MATCHES_COUNTED_EXACTLY: Final = 1_000
"""Documents that are matched against a query on each request in order to count."""
COUNT_KEPT_FOR: Final = 10.0
"""Seconds that a larger count is used again."""
COUNT_KEPT_FACTOR: Final = 20
"""Or this many times as long as the counting took, so that counting never takes more than a twentieth of the time."""
MAX_COUNTS: Final = 1_000
REMEMBERED_FROM: Final = 1_000
"""Up to this offset nothing is gained by remembering where it is."""
REMEMBERED_FOR: Final = 60.0
"""Seconds in which whoever reads page after page asks for the next one."""
MAX_REMEMBERED: Final = 1_000

MIGRATED_AT_ONCE: Final = 100
MIGRATION_PAUSE: Final = 5.0

_ORDER: Final = ("_id", "application", "application_version", "created_at")
"""What the indexes are ordered by, of which a cursor is made."""

PlanKey = tuple[str, tuple[Scalar, ...], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    total: int
    endpoints: Sequence[Endpoint]
    next: str | None
    """The cursor behind this page; None when there is nothing."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a search is answered: documents under an equality and, if the index does not say it all, a query."""

    index: Index
    equals: tuple[Scalar, ...]
    query: Query | None = None

    @property
    def key(self) -> PlanKey:
        return self.index.name, self.equals, b"" if self.query is None else jsontext.dump(self.query.source)


class Listing:
    """The registered endpoints of a tenant."""

    def __init__(self, store: DocumentStore, register: Register, filters: Filters, *, tenant: str) -> None:
        self._store = store
        self._register = register
        self._filters = filters
        self._tenant = tenant
        self._counts: dict[PlanKey, tuple[float, int]] = {}
        self._counting = SerialByKey()
        self._ends: TTLCache[tuple[PlanKey, int], Document] = TTLCache(MAX_REMEMBERED, REMEMBERED_FOR)

    async def page(self, search: Search, *, offset: int, limit: int, after: str | None = None) -> Page:
        """Raises BadRequest; NotFound and Conflict for the filter; Unavailable."""
        behind = None if after is None else _position_of(after)
        await self._check_filter(search)
        plan = await self._plan(search)
        found = await self._found(plan, offset, limit, behind)
        documents = found.documents
        if found.total is not None:
            total = found.total
        elif after is None and len(documents) < limit and (documents or offset == 0):
            total = offset + len(documents)
        else:
            counted = await self._count(plan)
            total = max(counted, offset + len(documents)) if documents else counted
        has_more = len(documents) == limit and (after is not None or total > offset + limit)
        return Page(
            total=total,
            endpoints=[Endpoint.from_document(document) for document in documents],
            next=_cursor_of(documents[-1]) if has_more else None,
        )

    async def page_of(self, endpoint_ids: Sequence[str], search: Search, *, offset: int, limit: int) -> Page:
        """The same among these endpoints, in their order."""
        await self._check_filter(search)
        matches = narrowed(conditions_of(search, with_terms=False).query or EVERYTHING, search).matches
        found = [e for e in await self._register.get_many(endpoint_ids) if matches(e.to_document())]
        return Page(total=len(found), endpoints=found[offset : offset + limit], next=None)

    async def keep_indexing(self) -> None:
        """Give endpoints their terms at the start, however long the store cannot be reached."""
        while True:
            try:
                return await self.index_terms()
            except Unavailable as exc:
                logger.warning("endpoints are not indexed by their metadata yet: %s", exc)
            await asyncio.sleep(MIGRATION_PAUSE)

    async def index_terms(self) -> None:
        """Give their terms to endpoints that were stored before there were any. Raises Unavailable."""
        without = (State.REGISTERED.value, self._tenant, None)
        while page := await self._store.page(ENDPOINTS, BY_TERM, equals=without, limit=MIGRATED_AT_ONCE):
            for document in page:
                metadata = {entry["key"]: entry["value"] for entry in document["metadata"]}
                # Nothing that anybody sees is changed, so the revision stays; a change in between brings the terms.
                await self._store.replace(ENDPOINTS, document | {"terms": terms_of(metadata)}, document["revision"])

    async def _check_filter(self, search: Search) -> None:
        if search.filter_id is None:
            return
        found = await self._filters.get_active(search.filter_id)
        if search.application not in (None, found.application):
            raise NotFound("no filter of this application with this id")

    async def _plan(self, search: Search) -> _Plan:
        conditions = conditions_of(search)
        if conditions.term is not None and not await self._terms_are_complete():
            conditions = conditions_of(search, with_terms=False)
        scope: tuple[Scalar, ...] = (State.REGISTERED.value, self._tenant)
        index, equals, rest = _narrowest(search, conditions, scope)
        if conditions.query is None and rest == Search():
            return _Plan(index, equals)
        return _Plan(index, equals, narrowed(conditions.query or EVERYTHING, rest))

    async def _terms_are_complete(self) -> bool:
        for marker in (INCOMPLETE, None):
            equals = (State.REGISTERED.value, self._tenant, marker)
            if await self._store.page(ENDPOINTS, BY_TERM, equals=equals, limit=1):
                return False
        return True

    async def _found(self, plan: _Plan, offset: int, limit: int, behind: Document | None) -> Matches:
        start, skipped = behind, offset
        if behind is None and offset >= REMEMBERED_FROM and (end := self._ends.get((plan.key, offset))) is not None:
            start, skipped = end, 0
        if plan.query is None:
            page = await self._store.page(
                ENDPOINTS, plan.index, equals=plan.equals, after=start, offset=skipped, limit=limit
            )
            found = Matches(page)
        else:
            found = await self._store.query(
                ENDPOINTS,
                plan.query,
                index=plan.index,
                equals=plan.equals,
                after=None if start is None else start["_id"],
                offset=skipped,
                limit=limit,
            )
        if behind is None and len(found.documents) == limit and offset + limit >= REMEMBERED_FROM:
            self._ends[plan.key, offset + limit] = {name: found.documents[-1].get(name) for name in _ORDER}
        return found

    async def _count(self, plan: _Plan) -> int:
        async with self._counting.turn(plan.key):
            until, total = self._counts.get(plan.key, (0.0, 0))
            if time.monotonic() < until:
                return total
            started = time.monotonic()
            total = await self._store.count(ENDPOINTS, index=plan.index, equals=plan.equals, query=plan.query)
            if total > (COUNTED_EXACTLY if plan.query is None else MATCHES_COUNTED_EXACTLY):
                now = time.monotonic()
                if len(self._counts) >= MAX_COUNTS:
                    self._counts.clear()
                self._counts[plan.key] = now + max(COUNT_KEPT_FOR, COUNT_KEPT_FACTOR * (now - started)), total
            return total


def _narrowest(
    search: Search, conditions: Conditions, scope: tuple[Scalar, ...]
) -> tuple[Index, tuple[Scalar, ...], Search]:
    """The index that says most of the search, with the values for it, and what it does not say."""
    application, app_version = search.application, search.app_version
    if search.filter_id is not None:
        # Only registered endpoints of its application have it.
        return BY_FILTER, (search.filter_id, *([] if app_version is None else [app_version])), Search()
    if conditions.term is not None:
        equals = (*scope, conditions.term, *([] if application is None else [application]))
        return BY_TERM, equals, Search(app_version=app_version)
    if application is not None:
        return BY_APPLICATION, (*scope, application, *([] if app_version is None else [app_version])), Search()
    if app_version is not None:
        return BY_APP_VERSION, (*scope, app_version), Search()
    return BY_APPLICATION, scope, Search()


def _cursor_of(document: Document) -> str:
    return urlsafe_b64encode(jsontext.dump([document[name] for name in _ORDER])).decode().rstrip("=")


def _position_of(cursor: str) -> Document:
    try:
        values: Any = jsontext.parse(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if [type(value) for value in values] != [str, str, str, int]:
            raise ValueError
    except (ValueError, TypeError, BadRequest):
        raise BadRequest("after: not a cursor that was given with a page") from None
    return dict(zip(_ORDER, values, strict=True))
