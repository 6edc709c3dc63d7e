"""What a transaction of many writes does when some of them, or all, cannot be done."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from kaa_common.store import Collection, Document, DuplicateKey, Index, InvalidDocument, StoreUnavailable
from kaa_common.store.sqlite_file import encode_document, open_connection, stored_document
from kaa_common.store.sqlite_writer import Writer

BY_NAME = Index("by_name", ("name",), unique=True)
BY_BOTH = Index("by_both", ("a", "b"))
THINGS = Collection("things", (BY_NAME, BY_BOTH))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    with open_connection(tmp_path / "store.db", 1.0) as connection:
        yield connection


@pytest.fixture
def writer(connection: apsw.Connection) -> Writer:
    writer = Writer(connection)
    writer.process([lambda writer: writer.ensure([THINGS])])
    return writer


def thing(document_id: str, **members: object) -> Document:
    return {"_id": document_id, "revision": 1, "name": document_id} | members


def test_a_refused_write_leaves_the_others_of_its_batch_alone(writer: Writer, tmp_path: Path) -> None:
    outcomes = writer.process(
        [
            lambda writer: writer.insert("things", encode_document(THINGS, thing("a"))),
            lambda writer: writer.insert("things", encode_document(THINGS, thing("b", name="a"))),
            lambda writer: writer.replace("things", encode_document(THINGS, thing("a", revision=3)), 2),
            lambda writer: writer.insert("things", encode_document(THINGS, thing("c", a=[1, 2], b=[1, 2]))),
            lambda writer: writer.insert("things", encode_document(THINGS, thing("d"))),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), DuplicateKey, bool, InvalidDocument, type(None)]
    with closing(apsw.Connection(str(tmp_path / "store.db"))) as other:
        assert [row[0] for row in other.execute("SELECT id FROM things")] == ["a", "d"]
        assert other.execute('SELECT count(*) FROM "things.by_name"').fetchone() == (2,)


def test_a_full_disk_loses_the_batch_and_nothing_else(writer: Writer, connection: apsw.Connection) -> None:
    writer.process([lambda writer: writer.insert("things", encode_document(THINGS, thing("before")))])
    pages = connection.execute("PRAGMA page_count").get
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(StoreUnavailable, match="full"):
        writer.process(
            [
                lambda writer: writer.insert("things", encode_document(THINGS, thing("small"))),
                lambda writer: writer.insert("things", encode_document(THINGS, thing("large", text="x" * 100_000))),
            ]
        )

    assert stored_document(connection, "things", "small") is None
    connection.execute("PRAGMA max_page_count = 100000")
    writer.process([lambda writer: writer.insert("things", encode_document(THINGS, thing("small")))])
    assert stored_document(connection, "things", "before") is not None
    assert stored_document(connection, "things", "small") is not None


def test_commits_are_synced_to_the_disk(connection: apsw.Connection) -> None:
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_writer_does_not_take_a_document_for_the_one_it_wrote_at_that_revision(
    writer: Writer, tmp_path: Path
) -> None:
    writer.process([lambda writer: writer.insert("things", encode_document(THINGS, thing("a")))])
    writer.process([lambda writer: writer.replace("things", encode_document(THINGS, thing("a", revision=2)), 1)])
    with open_connection(tmp_path / "store.db", 1.0) as connection:
        other = Writer(connection)
        other.process(
            [lambda other: other.replace("things", encode_document(THINGS, thing("a", revision=2, name="b")), 2)]
        )

    outcomes = writer.process(
        [
            lambda writer: writer.replace("things", encode_document(THINGS, thing("a", revision=3)), 2),
            lambda writer: writer.insert("things", encode_document(THINGS, thing("other", name="a"))),
            lambda writer: writer.insert("things", encode_document(THINGS, thing("b"))),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [bool, DuplicateKey, type(None)]


def test_a_document_that_is_written_again_and_again_is_compared_and_set_each_time(writer: Writer) -> None:
    writer.process([lambda writer: writer.insert("things", encode_document(THINGS, thing("a")))])
    replaced = writer.process(
        [
            lambda writer: writer.replace("things", encode_document(THINGS, thing("a", revision=2, text="first")), 1),
            lambda writer: writer.replace("things", encode_document(THINGS, thing("a", revision=3, text="second")), 2),
            lambda writer: writer.replace("things", encode_document(THINGS, thing("a", revision=3, text="lost")), 2),
            lambda writer: writer.replace("things", encode_document(THINGS, thing("a", revision=4, text="third")), 3),
        ]
    )
    assert replaced == [True, True, False, True]
