"""That MongoDB can answer every list and search through an index.

What is asked of it is held against the indexes: equality of the first fields of one, and the order of the others. A
real MongoDB (MONGODB_URI) is asked for its plans besides; the planner of the stand-in knows too little.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import pymongo
import pytest
from pymongo.asynchronous.collection import AsyncCollection

from epr.listing import Listing
from epr.register import ENDPOINTS
from epr.search import Search
from kaa_common.store import DocumentStore

from .conftest import Replica
from .filtering import made
from .test_listing import endpoint, insert

Call = tuple[dict[str, Any], dict[str, Any]]
"""Filter and sort."""


@pytest.mark.parametrize("store", ["mongodb"], indirect=True)
async def test_every_list_and_search_uses_an_index(
    epr: Replica, store: DocumentStore, mongodb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(store, *map(endpoint, range(30)))
    filter_id = await made(epr, {"metadata.city": "Kyiv"})
    calls: list[tuple[str, Call]] = []
    find, count = AsyncCollection.find, AsyncCollection.count_documents

    def finding(self: Any, condition: dict[str, Any], **options: Any) -> Any:
        if self.name == ENDPOINTS.name:
            calls.append((self.database.name, (condition, dict(options.get("sort", [])))))
        return find(self, condition, **options)

    def counting(self: Any, condition: dict[str, Any], **options: Any) -> Any:
        if self.name == ENDPOINTS.name:
            calls.append((self.database.name, (condition, {})))
        return count(self, condition, **options)

    pages: Listing = epr.api.listing
    first = await pages.page(Search(), offset=0, limit=5)
    searches = [
        Search(application=application, app_version=version, filter_id=filter_, metadata_filter=text)
        for application in (None, "kettle")
        for version in (None, "kettle-v1")
        for filter_ in (None, filter_id)
        for text in ("", "city=Kyiv", "number=3", "city=Kyiv,number=3")
    ]
    searches += [
        Search(application=application, **asked)
        for application in (None, "kettle")
        for asked in (
            {"query": {"metadata.number": {"$gt": 3}}},
            {"query": {"$or": [{"metadata.city": {"$ne": "Kyiv"}}, {"metadata.number": {"$exists": False}}]}},
            {"multi_filter": "kyiv"},
            {"metadata_filter": "city=^Ky", "regex": True},
        )
    ]
    monkeypatch.setattr(AsyncCollection, "find", finding)
    monkeypatch.setattr(AsyncCollection, "count_documents", counting)
    for search in searches:
        await pages.page(search, offset=0, limit=1)
        await pages.page(search, offset=0, limit=1, after=first.next)
    monkeypatch.undo()

    asked = [call for _, call in calls if "filters" in str(call) or "state" in str(call)]
    assert len(asked) > len(searches) * 2
    assert [call for call in asked if not is_indexed(*call)] == []
    if "MONGODB_URI" in os.environ:
        found = await asyncio.to_thread(plans, mongodb, calls)
        assert [plan for plan in found if "IXSCAN" not in plan] == []


def is_indexed(condition: dict[str, Any], sort: dict[str, Any]) -> bool:
    """Whether an index has all that is asked for by equality in front, and the order that is asked for behind it."""
    branches = condition["$or"] if "$or" in condition else [condition["$and"][0] if "$and" in condition else condition]
    return all(any(serves(index.fields, branch, list(sort)) for index in ENDPOINTS.indexes) for branch in branches)


def serves(fields: Sequence[str], branch: dict[str, Any], order: list[str]) -> bool:
    equal = {field for field, wanted in branch.items() if list(wanted) == ["$eq"]}
    leading = [field for field in fields if field in equal]
    if not leading or tuple(leading) != tuple(fields[: len(leading)]) or len(leading) < len(equal):
        return False
    # By ids alone MongoDB orders what it found.
    return order in ([], ["_id"]) or (order[-1] == "_id" and set(order[:-1]) <= {*fields})


def plans(uri: str, calls: Sequence[tuple[str, Call]]) -> list[str]:
    found = []
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        for database, (condition, sort) in calls:
            if "_id" not in condition:
                command = {"find": ENDPOINTS.name, "filter": condition, **({"sort": sort} if sort else {})}
                explained = client[database].command("explain", command, verbosity="queryPlanner")
                found.append(str(explained["queryPlanner"]["winningPlan"]))
    return found
