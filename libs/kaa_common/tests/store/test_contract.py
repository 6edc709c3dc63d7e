"""What `DocumentStore` promises, held against both adapters."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from kaa_common.store import (
    MAX_PAGE,
    Collection,
    Document,
    DocumentStore,
    DuplicateKey,
    Index,
    InvalidDocument,
    Query,
    Scalar,
    StoreError,
    compile_query,
    sqlite_scan,
)

BY_KIND = Index("by_kind", ("tenant", "kind"))
BY_TAG = Index("by_tag", ("tags.name",))
BY_NAME = Index("by_name", ("tenant", "name"), unique=True)
THINGS = Collection("things", (BY_KIND, BY_TAG, BY_NAME), queried=("sized", "kind", "tenant"), keyed="sized")


@pytest.fixture(autouse=True)
async def _things(store: DocumentStore) -> None:
    await store.ensure([THINGS])


def thing(document_id: str, **members: Any) -> Document:
    return {"_id": document_id, "revision": 1, "tenant": "t", "name": document_id} | members


async def insert_all(store: DocumentStore, *documents: Document) -> None:
    async with asyncio.TaskGroup() as group:
        for document in documents:
            group.create_task(store.insert(THINGS, document))


async def ids_of_pages(
    store: DocumentStore, *, equals: Sequence[Scalar] = (), limit: int = 2, descending: bool = False
) -> list[str]:
    """Walk an index from page to page."""
    ids: list[str] = []
    last = None
    while page := await store.page(THINGS, BY_KIND, equals=equals, after=last, limit=limit, descending=descending):
        ids += [document["_id"] for document in page]
        last = page[-1]
    return ids


async def test_a_document_comes_back_as_it_was_inserted(store: DocumentStore) -> None:
    document = thing("a", members={"z": 1, "b": [True, None, "x"]})

    await store.insert(THINGS, document)

    assert await store.get(THINGS, ["a", "unknown"]) == {"a": document}


async def test_what_get_returns_belongs_to_the_caller(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a", members={"n": 1}))

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(store.get(THINGS, ["a"])) for _ in range(10)]
    answers[0].result()["a"]["members"]["n"] = 2

    assert answers[1].result()["a"]["members"]["n"] == 1
    assert (await store.get(THINGS, ["a"]))["a"]["members"]["n"] == 1


def nested(levels: int) -> Any:
    value: Any = "bottom"
    for i in range(levels):
        value = {"in": value} if i % 2 else [value]
    return value


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    2**31,
    2**53 + 1,
    -(2**63),
    2**63 - 1,
    2**63,
    2**64 - 1,
    1.0,
    -0.0,
    0.1,
    1e308,
    5e-324,
    float(2**64),
    "",
    "a\0b",
    "\U0001f600 é",
    [],
    {},
    [[], [[]], {}],
    {"": ""},
    {"a.b": 1, "a": {"b": 2}, ".": 3, "..": 4},
    {"$ref": "c", "$id": "1", "$db": "d"},
    {"$set": {"$where": "1"}, "~": 1, "~$": 2, "~~": 3, "$": 4, "$$": 5},
    {"z": 1, "a": 2, "m": {"y": 1, "b": 2}},
    {"$date": 1, "$oid": "0" * 24, "$numberLong": "1"},
    {"0": "a", "1": "b"},
    nested(32),
    "x" * 256 * 1024,
    [{"k": str(i), "v": i} for i in range(5000)],
]


async def test_every_value_survives_bit_for_bit(store: DocumentStore) -> None:
    await insert_all(store, *(thing(str(i), value=value) for i, value in enumerate(VALUES)))

    stored = await store.get(THINGS, [str(i) for i in range(len(VALUES))])

    for i, value in enumerate(VALUES):
        # repr shows what == hides: 1 and 1.0, 0.0 and -0.0, True and 1, the order of keys.
        assert repr(stored[str(i)]["value"]) == repr(value)
        assert type(stored[str(i)]["value"]) is type(value)


async def test_every_key_survives_at_the_top_too(store: DocumentStore) -> None:
    document = thing("a") | {key: {"$id": 1} for key in ("$ref", "a.b", "~", "~x", "$", "", "x" * 1000)}

    await store.insert(THINGS, document)
    assert await store.replace(THINGS, document | {"revision": 2}, 1)

    assert list((await store.get(THINGS, ["a"]))["a"].items()) == list((document | {"revision": 2}).items())


REFUSED: list[dict[Any, Any]] = [
    {"value": 2**64},
    {"value": -(2**63) - 1},
    {"value": float("nan")},
    {"value": float("inf")},
    {"value": "\ud800"},
    {"\ud800": 1},
    {"nul\0": 1},
    {"value": {"nul\0": 1}},
    {"value": {1: 2}},
    {"value": (1, 2)},
    {"value": b"bytes"},
    {"value": nested(65)},
    {"value": "x" * (9 * 1024 * 1024)},
    {"_id": 1},
    {"_id": ""},
    {"revision": 0},
    {"revision": True},
    {"revision": 1.0},
    {"revision": None},
]


async def test_what_cannot_be_kept_exactly_is_refused(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a"))

    for members in REFUSED:
        with pytest.raises(InvalidDocument):
            await store.insert(THINGS, thing("b") | members)
        with pytest.raises(InvalidDocument):
            await store.replace(THINGS, thing("a") | members, 1)

    assert (await store.query(THINGS, compile_query({}), limit=9)).documents == [thing("a")]


async def test_a_taken_id_is_a_duplicate_of_the_primary_key(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a"))

    with pytest.raises(DuplicateKey) as duplicate:
        await store.insert(THINGS, thing("a", name="other"))

    assert (duplicate.value.collection, duplicate.value.index) == ("things", "_id")
    assert (await store.get(THINGS, ["a"]))["a"]["name"] == "a"


async def test_a_duplicate_in_a_unique_index_is_named_and_changes_nothing(store: DocumentStore) -> None:
    await insert_all(store, thing("a"), thing("b"), thing("a2", name="a", tenant="other"))

    with pytest.raises(DuplicateKey) as on_insert:
        await store.insert(THINGS, thing("c", name="a"))
    with pytest.raises(DuplicateKey) as on_replace:
        await store.replace(THINGS, thing("b", name="a", revision=2), 1)

    assert on_insert.value.index == on_replace.value.index == "by_name"
    assert await store.get(THINGS, ["b", "c"]) == {"b": thing("b")}
    assert await store.count(THINGS, index=BY_NAME, equals=("t", "a")) == 1


async def test_missing_and_null_are_the_same_key_of_a_unique_index(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a", name=None))
    nameless = thing("b")
    del nameless["name"]

    with pytest.raises(DuplicateKey):
        await store.insert(THINGS, nameless)


async def test_a_key_of_a_unique_index_is_free_again_after_replace_and_delete(store: DocumentStore) -> None:
    await insert_all(store, thing("a"), thing("b"))

    assert await store.replace(THINGS, thing("a", name="c", revision=2), 1)
    await store.insert(THINGS, thing("d", name="a"))
    assert await store.delete(THINGS, "b", None)
    await store.insert(THINGS, thing("e", name="b"))


async def test_replace_needs_the_expected_revision(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a"))

    assert await store.replace(THINGS, thing("a", revision=2, n=1), 1)
    assert not await store.replace(THINGS, thing("a", revision=2, n=2), 1)
    assert not await store.replace(THINGS, thing("absent", revision=2), 1)

    assert await store.get(THINGS, ["a", "absent"]) == {"a": thing("a", revision=2, n=1)}


async def test_replace_may_keep_the_revision(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a", outbox=["event"]))

    assert await store.replace(THINGS, thing("a", outbox=[]), 1)
    assert await store.replace(THINGS, thing("a", outbox=[]), 1)

    assert (await store.get(THINGS, ["a"]))["a"]["outbox"] == []


async def test_of_many_replacements_at_once_one_for_each_revision_succeeds(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a", n=0))

    async def add_one() -> None:
        while True:
            current = (await store.get(THINGS, ["a"]))["a"]
            following = current | {"n": current["n"] + 1, "revision": current["revision"] + 1}
            if await store.replace(THINGS, following, current["revision"]):
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(add_one())

    assert await store.get(THINGS, ["a"]) == {"a": thing("a", n=8, revision=9)}


async def test_of_many_inserts_of_one_key_at_once_one_succeeds(store: DocumentStore) -> None:
    async def try_insert(document_id: str) -> bool:
        try:
            await store.insert(THINGS, thing(document_id, name="same"))
        except DuplicateKey:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        attempts = [group.create_task(try_insert(str(i))) for i in range(20)]

    assert sum(attempt.result() for attempt in attempts) == 1
    assert await store.count(THINGS) == 1


async def test_delete_removes_at_the_expected_or_any_revision(store: DocumentStore) -> None:
    await insert_all(store, thing("a"), thing("b", revision=7))

    assert not await store.delete(THINGS, "a", 2)
    assert await store.delete(THINGS, "a", 1)
    assert not await store.delete(THINGS, "a", None)
    assert await store.delete(THINGS, "b", None)

    assert await store.count(THINGS) == 0


ORDERED_KINDS: list[Scalar] = [
    None,
    -(2**63),
    -1.5,
    -1,
    0,
    0.5,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    1e300,
    "",
    "A",
    "a",
    "a\0",
    "a\0b",
    "aa",
    "é",
    "\U0001f600",
    False,
    True,
]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_pages_follow_the_order_of_values_in_both_directions(store: DocumentStore, limit: int) -> None:
    documents = [thing(f"{i:02}", kind=kind) for i, kind in enumerate(ORDERED_KINDS)]
    kindless = thing("000")
    await insert_all(store, *reversed(documents), kindless)
    expected = ["00", "000", *(document["_id"] for document in documents[1:])]

    assert await ids_of_pages(store, limit=limit, equals=("t",)) == expected
    assert await ids_of_pages(store, limit=limit, equals=("t",), descending=True) == expected[::-1]


async def test_pages_of_equal_keys_follow_the_ids(store: DocumentStore) -> None:
    await insert_all(store, *(thing(str(i), kind="k") for i in (3, 1, 4, 2, 5)), thing("0", kind="other"))

    assert await ids_of_pages(store, equals=("t", "k")) == ["1", "2", "3", "4", "5"]
    assert await ids_of_pages(store, equals=("t", "k"), descending=True) == ["5", "4", "3", "2", "1"]


async def test_pages_without_equality_follow_all_fields(store: DocumentStore) -> None:
    await insert_all(
        store, thing("1", tenant="b", kind=1), thing("2", tenant="a", kind=2), thing("3", tenant="a", kind=1)
    )

    assert await ids_of_pages(store, limit=1) == ["3", "2", "1"]
    assert await ids_of_pages(store, limit=1, descending=True) == ["1", "2", "3"]


async def test_a_page_starts_behind_a_document_that_is_gone(store: DocumentStore) -> None:
    await insert_all(store, *(thing(str(i), kind=i) for i in range(4)))
    last = (await store.page(THINGS, BY_KIND, equals=("t",), limit=2))[-1]

    await store.delete(THINGS, last["_id"], None)

    assert [document["_id"] for document in await store.page(THINGS, BY_KIND, after=last, limit=9)] == ["2", "3"]


async def test_an_id_that_is_not_unicode_belongs_to_no_document(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a"))

    assert await store.get(THINGS, ["a", "\ud800"]) == {"a": thing("a")}
    assert not await store.delete(THINGS, "\ud800", None)
    with pytest.raises(ValueError, match="Unicode"):
        await store.count(THINGS, index=BY_NAME, equals=("t", "\ud800"))


async def test_a_page_of_a_unique_index_follows_its_order(store: DocumentStore) -> None:
    await insert_all(store, thing("1", name="c"), thing("2", name="a"), thing("3", name="b"))

    first = await store.page(THINGS, BY_NAME, equals=("t",), limit=2)
    second = await store.page(THINGS, BY_NAME, equals=("t",), after=first[-1], limit=2)

    assert [document["_id"] for document in first + second] == ["2", "3", "1"]
    assert await store.page(THINGS, BY_NAME, equals=("t", "b"), limit=2) == [thing("3", name="b")]


async def test_an_offset_skips_documents(store: DocumentStore) -> None:
    await insert_all(store, *(thing(str(i), kind=i) for i in range(5)))

    page = await store.page(THINGS, BY_KIND, equals=("t",), offset=1, limit=2, descending=True)
    found = (await store.query(THINGS, compile_query({"kind": {"$gt": 0}}), offset=1, limit=2)).documents

    assert [document["_id"] for document in page] == ["3", "2"]
    assert [document["_id"] for document in found] == ["2", "3"]


async def test_an_array_is_indexed_by_its_elements(store: DocumentStore) -> None:
    await insert_all(
        store,
        thing("1", tags=[{"name": "x"}, {"name": "y"}, {"name": "x"}]),
        thing("2", tags=[{"name": "y"}]),
        thing("3", tags=[]),
    )

    assert [d["_id"] for d in await store.page(THINGS, BY_TAG, equals=("x",), limit=9)] == ["1"]
    assert [d["_id"] for d in await store.page(THINGS, BY_TAG, equals=("y",), limit=9)] == ["1", "2"]
    assert await store.count(THINGS, index=BY_TAG, equals=("y",)) == 2

    await store.replace(THINGS, thing("1", tags=[{"name": "z"}], revision=2), 1)

    assert await store.count(THINGS, index=BY_TAG, equals=("x",)) == 0
    assert await store.count(THINGS, index=BY_TAG, equals=("z",)) == 1


async def test_a_query_finds_what_matches_in_the_order_of_ids(store: DocumentStore) -> None:
    await insert_all(store, *(thing(str(i), kind="even" if i % 2 == 0 else "odd", n=i) for i in range(9)))
    query = compile_query({"n": {"$gte": 2}})

    async def found(query: Query, **narrowed: Any) -> list[str]:
        return [document["_id"] for document in (await store.query(THINGS, query, **narrowed)).documents]

    assert await found(query, index=BY_KIND, equals=("t", "even"), limit=2) == ["2", "4"]
    assert await found(query, index=BY_KIND, equals=("t", "even"), after="4", limit=9) == ["6", "8"]
    assert await found(query, index=BY_KIND, equals=("t",), after="6", limit=9) == ["7", "8"]
    assert len(await found(compile_query({}), limit=MAX_PAGE)) == 9


@pytest.mark.parametrize(("candidates", "narrow"), [(10, 1), (2, 1), (1, 10), (0, 0)])
async def test_how_a_search_goes_about_it_changes_nothing_that_is_found(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch, candidates: int, narrow: int
) -> None:
    monkeypatch.setattr(sqlite_scan, "MAX_CANDIDATES", candidates)
    monkeypatch.setattr(sqlite_scan, "NARROW", narrow)
    sizes: dict[str, Any] = {"a": 50, "b": 49, "B": 50.0, "\u00e9": [1, 50], "z": 50, "y": "50", "x": 2**53 + 1}
    for name, size in sizes.items():
        sized = [{"key": "size", "value": size}, {"key": "other", "value": {"key": "size", "value": 50}}]
        await store.insert(THINGS, thing(name, kind="k" if name < "c" else "l", sized=sized))
    query = compile_query({"sized": {"$elemMatch": {"key": "size", "value": 50}}})

    async def found(**narrowed: Any) -> list[str]:
        matches = await store.query(THINGS, query, **narrowed)
        assert matches.total in (None, 4)
        return [document["_id"] for document in matches.documents]

    assert await found(limit=9) == ["B", "a", "z", "\u00e9"]
    assert await found(limit=2, offset=1) == ["a", "z"]
    assert await found(limit=9, after="a") == ["z", "\u00e9"]
    assert await found(limit=9, index=BY_KIND, equals=("t",)) == ["B", "a", "z", "\u00e9"]
    assert await store.count(THINGS, query=query, index=BY_KIND, equals=("t", "l")) == 2
    assert await store.count(THINGS, query=query, index=BY_KIND, equals=("u",)) == 0
    assert await store.count(THINGS, query=query) == 4
    assert await store.count(THINGS, query=query, limit=3) == 3


async def test_documents_are_counted_by_index_and_query(store: DocumentStore) -> None:
    await insert_all(store, *(thing(str(i), kind="k" if i < 3 else "l", n=i) for i in range(5)))
    query = compile_query({"n": {"$gt": 1}})

    assert await store.count(THINGS) == 5
    assert await store.count(THINGS, index=BY_KIND, equals=("t",)) == 5
    assert await store.count(THINGS, index=BY_KIND, equals=("t", "k")) == 3
    assert await store.count(THINGS, query=query) == 3
    assert await store.count(THINGS, index=BY_KIND, equals=("t", "k"), query=query) == 1


async def test_a_count_ends_at_its_limit(store: DocumentStore) -> None:
    await insert_all(store, *(thing(str(i), kind="k", tags=[{"name": "x"}, {"name": "y"}]) for i in range(5)))
    query = compile_query({"kind": "k"})

    for limit, counted in ((1, 1), (4, 4), (5, 5), (6, 5)):
        assert await store.count(THINGS, limit=limit) == counted
        assert await store.count(THINGS, index=BY_KIND, equals=("t",), limit=limit) == counted
        assert await store.count(THINGS, index=BY_KIND, equals=("t", "k"), limit=limit) == counted
        assert await store.count(THINGS, index=BY_TAG, limit=limit) == counted
        assert await store.count(THINGS, query=query, limit=limit) == counted


async def test_the_different_strings_at_a_path_are_told(store: DocumentStore) -> None:
    await insert_all(
        store,
        thing("1", kind="k", tags=[{"name": "x"}, {"name": "y"}], title="first"),
        thing("2", kind="k", tags=[{"name": "y"}, {"name": 7}, {"other": "z"}]),
        thing("3", kind="k", tags=[]),
        thing("4", kind="l", tags=[{"name": "z"}]),
    )

    assert await store.distinct(THINGS, "tags.name", index=BY_KIND, equals=("t", "k"), limit=9) == {"x", "y"}
    assert await store.distinct(THINGS, "tags.name", index=BY_KIND, equals=("t",), limit=9) == {"x", "y", "z"}
    assert len(await store.distinct(THINGS, "tags.name", index=BY_KIND, equals=("t",), limit=2)) == 2
    assert await store.distinct(THINGS, "title", index=BY_KIND, equals=("t",), limit=9) == {"first"}
    assert await store.distinct(THINGS, "tags.name", index=BY_KIND, equals=("u",), limit=9) == frozenset()


async def test_an_index_follows_every_kind_of_change(store: DocumentStore) -> None:
    kinds: list[Any] = ["k", 1, True, 1.5, None, ["k"], ["k", "l"], [1], [True], [], {"a": 1}, {"a": True}]
    await store.insert(THINGS, thing("a"))

    for revision, kind in enumerate(kinds, 1):
        assert await store.replace(THINGS, thing("a", kind=kind, revision=revision + 1), revision)
        for scalar in ("k", "l", 1, True, 1.5, None):
            expected = compile_query({"kind": scalar})
            counted = await store.count(THINGS, index=BY_KIND, equals=("t", scalar))
            assert counted == await store.count(THINGS, query=expected), (kind, scalar)


async def test_a_query_reaches_keys_with_dollars(store: DocumentStore) -> None:
    await insert_all(store, thing("1", m={"$ref": 1, "~x": {"$y": "z"}}), thing("2", m={"ref": 1}))

    for source in (
        {"m.$ref": 1},
        {"m.~x.$y": {"$in": ["z"]}},
        {"m.~x": {"$eq": {"$y": "z"}}},
        {"$and": [{"$nor": [{"m.$ref": {"$not": {"$gt": 0}}}]}, {"m": {"$ne": {"$ref": 1}}}]},
    ):
        assert [d["_id"] for d in (await store.query(THINGS, compile_query(source), limit=9)).documents] == ["1"], (
            source
        )


async def test_collections_are_separate(store: DocumentStore) -> None:
    others = Collection("others", (BY_NAME,))
    await store.ensure([others])

    await store.insert(THINGS, thing("a"))
    await store.insert(others, thing("a", n=1))

    assert await store.get(THINGS, ["a"]) == {"a": thing("a")}
    assert await store.get(others, ["a"]) == {"a": thing("a", n=1)}


async def test_ensure_may_be_repeated_and_run_at_once(store: DocumentStore) -> None:
    await store.insert(THINGS, thing("a"))

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(store.ensure([THINGS, Collection("more", (BY_KIND,))]))

    assert await store.get(THINGS, ["a"]) == {"a": thing("a")}


async def test_a_new_index_covers_the_documents_that_are_there(store: DocumentStore) -> None:
    await insert_all(store, thing("a", n=2), thing("b", n=1))
    by_number = Index("by_number", ("n",))

    await store.ensure([Collection("things", (*THINGS.indexes, by_number))])

    assert [document["_id"] for document in await store.page(THINGS, by_number, limit=9)] == ["b", "a"]


async def test_a_changed_index_needs_a_new_name(store: DocumentStore) -> None:
    with pytest.raises(StoreError, match="another definition"):
        await store.ensure([Collection("things", (Index("by_kind", ("kind",)),))])


async def test_a_unique_index_over_duplicates_is_refused(store: DocumentStore) -> None:
    await insert_all(store, thing("a", n=1), thing("b", n=1))

    with pytest.raises(DuplicateKey) as duplicate:
        await store.ensure([Collection("things", (Index("by_number", ("n",), unique=True),))])

    assert duplicate.value.index == "by_number"
    await store.insert(THINGS, thing("c", n=1))


async def test_ping_returns_while_the_database_answers(store: DocumentStore) -> None:
    await store.ping()


@pytest.mark.parametrize("limit", [0, MAX_PAGE + 1])
async def test_a_page_has_one_to_max_page_documents(store: DocumentStore, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        await store.page(THINGS, BY_KIND, limit=limit)
    with pytest.raises(ValueError, match="limit"):
        await store.query(THINGS, compile_query({}), limit=limit)


async def test_more_values_than_index_fields_are_refused(store: DocumentStore) -> None:
    with pytest.raises(ValueError, match="more values"):
        await store.page(THINGS, BY_KIND, equals=("t", "k", "x"), limit=1)
    with pytest.raises(ValueError, match="more values"):
        await store.count(THINGS, equals=("t",))


async def test_an_array_cannot_order_a_page(store: DocumentStore) -> None:
    with pytest.raises(ValueError, match=r"tags\.name"):
        await store.page(THINGS, BY_TAG, after=thing("a", tags=[{"name": "x"}, {"name": "y"}]), limit=1)


async def test_of_concurrent_writes_each_has_its_own_outcome(store: DocumentStore) -> None:
    await insert_all(store, *(thing(f"{name}{i}") for name in "abcd" for i in range(8)), thing("taken"))

    async def outcome(writing: Awaitable[bool | None]) -> bool | str | None:
        try:
            return await writing
        except DuplicateKey as exc:
            return exc.index

    async with asyncio.TaskGroup() as group:
        outcomes = {
            (name, i, attempt): group.create_task(outcome(writing))
            for i in range(8)
            for name, attempt, writing in (
                *(("a", n, store.replace(THINGS, thing(f"a{i}", revision=2, by=n), 1)) for n in range(3)),
                ("b", 0, store.replace(THINGS, thing(f"b{i}", revision=3), 2)),
                ("b", 1, store.delete(THINGS, f"b{i}", 2)),
                ("c", 0, store.replace(THINGS, thing(f"c{i}", revision=2, name="taken"), 1)),
                ("d", 0, store.delete(THINGS, f"d{i}", 1)),
                ("d", 1, store.replace(THINGS, thing(f"d{i}", revision=2), 1)),
                ("e", 0, store.insert(THINGS, thing(f"e{i}"))),
                ("e", 1, store.insert(THINGS, thing(f"e{i}", name=f"other{i}"))),
                ("f", 0, store.insert(THINGS, thing(f"f{i}", name="taken"))),
                ("g", 0, store.replace(THINGS, thing(f"g{i}", revision=2), 1)),
            )
        }

    stored = await store.get(THINGS, [f"{name}{i}" for name in "abcdefg" for i in range(8)])
    for i in range(8):
        met = {(name, attempt): outcomes[name, j, attempt].result() for name, j, attempt in outcomes if j == i}
        (winner,) = [n for n in range(3) if met["a", n]]
        assert stored[f"a{i}"] == thing(f"a{i}", revision=2, by=winner)
        assert (met["b", 0], met["b", 1], stored[f"b{i}"]) == (False, False, thing(f"b{i}"))
        assert (met["c", 0], stored[f"c{i}"]) == ("by_name", thing(f"c{i}"))
        assert (met["d", 0], met["d", 1]) in ((True, False), (False, True))
        assert (f"d{i}" in stored) is met["d", 1]
        assert {met["e", 0], met["e", 1]} == {None, "_id"}
        assert (met["f", 0], f"f{i}" in stored) == ("by_name", False)
        assert (met["g", 0], f"g{i}" in stored) == (False, False)
