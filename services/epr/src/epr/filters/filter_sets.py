"""The filter sets that a replica keeps, loaded from the store.

The generation of a set is read before its filters, so a set holds all that its generation promises, and perhaps more.
What may be older than an endpoint's document is loaded anew before the endpoint is matched against it: that, not the
time, keeps replicas from using a set that is out of date (ADR 0014). A set is besides loaded anew now and then, for the
new names of filters.
"""

from dataclasses import dataclass
from time import monotonic
from typing import Final

from cachetools import LRUCache

from epr.filters.documents import BY_APPLICATION, FILTER_SETS, FILTERS, set_id
from epr.filters.filter_set import FilterSet, Rule
from epr.filters.model import Filter
from epr.filters.queries import compile_filter_query
from epr.model import Endpoint
from kaa_common import jsontext
from kaa_common.serial import SerialByKey
from kaa_common.store import Document, DocumentStore

MAX_KEPT: Final = 50_000
"""Filters kept, those of one application together: tens of MB when they are long, for 25 applications full of them."""
KEPT_FOR: Final = 30.0
"""Seconds that a set is used without looking whether a filter has got another name."""
LOAD_PAGE: Final = 100

Key = tuple[str, str]
"""Tenant and application."""


@dataclass(frozen=True, slots=True)
class _Kept:
    filter_set: FilterSet
    loaded_at: float


class FilterSets:
    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._kept: LRUCache[Key, _Kept] = LRUCache(MAX_KEPT, getsizeof=lambda kept: len(kept.filter_set.rules) + 1)
        self._turns = SerialByKey()

    def kept_for_change(self, endpoint: Endpoint) -> FilterSet | None:
        """As `for_change`; None when a set has to be loaded."""
        return self._known(endpoint.filters_generation, (endpoint.tenant, endpoint.application))

    async def for_change(self, endpoint: Endpoint) -> FilterSet:
        """A set that is not older than what the endpoint was matched against. Raises Unavailable."""
        return await self._at_least(endpoint.filters_generation, (endpoint.tenant, endpoint.application))

    async def for_registration(self, endpoint: Endpoint) -> FilterSet:
        """A set that is not older than this call. Raises Unavailable."""
        key = (endpoint.tenant, endpoint.application)
        return await self._at_least(await self._generation(key), key)

    async def for_unregistration(self, endpoint: Endpoint) -> FilterSet:
        """A set that knows every filter that the endpoint matches, if it is still there. Raises Unavailable."""
        filter_set = await self.for_change(endpoint)
        if filter_set.knows(endpoint.filters):
            return filter_set
        return await self.load(endpoint.tenant, endpoint.application)

    async def load(self, tenant: str, application: str) -> FilterSet:
        """A set that has all that was in the store before this call. Raises Unavailable."""
        key = (tenant, application)
        async with self._turns.turn(key):
            return await self._load(key)

    async def _at_least(self, generation: int, key: Key) -> FilterSet:
        if (known := self._known(generation, key)) is not None:
            return known
        async with self._turns.turn(key):
            known = self._known(generation, key)
            return known if known is not None else await self._load(key)

    def _known(self, generation: int, key: Key) -> FilterSet | None:
        kept = self._kept.get(key)
        if kept is None or kept.filter_set.generation < generation or kept.loaded_at + KEPT_FOR < monotonic():
            return None
        return kept.filter_set

    async def _load(self, key: Key) -> FilterSet:
        loaded_at = monotonic()
        generation = await self._generation(key)
        kept = self._kept.get(key)
        known = {} if kept is None else kept.filter_set.rules
        rules: list[Rule] = []
        last: Document | None = None
        while page := await self._store.page(FILTERS, BY_APPLICATION, equals=key, after=last, limit=LOAD_PAGE):
            rules += (_rule(Filter.from_document(document), known) for document in page)
            last = page[-1]
        filter_set = FilterSet(generation, rules)
        self._kept[key] = _Kept(filter_set, loaded_at)
        return filter_set

    async def _generation(self, key: Key) -> int:
        name = set_id(*key)
        generation: int = (await self._store.get(FILTER_SETS, [name])).get(name, {}).get("generation", 0)
        return generation


def _rule(filter_: Filter, known: dict[str, Rule]) -> Rule:
    before = known.get(filter_.id)
    if before is not None and jsontext.dump(before.filter.mongo_query) == jsontext.dump(filter_.mongo_query):
        return Rule(filter_, before.query)
    return Rule(filter_, compile_filter_query(filter_.mongo_query))
