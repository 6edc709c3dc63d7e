from typing import Any

import pytest

from epr.metadata import Metadata
from epr.model import Endpoint, MetadataChanges, State, metadata_changes
from kaa_common import jsontext
from kaa_common.errors import PayloadTooLarge, Unavailable
from kaa_common.messages.eme import MetadataKeyUpdatedDto

ENDPOINT = Endpoint(
    id="id",
    revision=7,
    state=State.REGISTERED,
    tenant="tenant",
    application="kettle",
    app_version="kettle-v1",
    app_version_at=100,
    created_at=100,
    metadata={"a": 1, "b": {"x.y": [None, {"$ref": ""}]}},
    metadata_updated_at=200,
    token_id="token",
)
WAITING = {"subject": "s", "data": "AAAA", "headers": {"Nats-Msg-Id": "1"}}


def test_a_document_keeps_metadata_as_the_array_that_filters_query() -> None:
    assert ENDPOINT.to_document() == {
        "_id": "id",
        "revision": 7,
        "state": "registered",
        "tenant": "tenant",
        "application": "kettle",
        "application_version": "kettle-v1",
        "application_version_at": 100,
        "created_at": 100,
        "metadata": [{"key": "a", "value": 1}, {"key": "b", "value": {"x.y": [None, {"$ref": ""}]}}],
        "terms": [],
        "metadata_updated_at": 200,
        "token_id": "token",
        "reserved_until": None,
    }


@pytest.mark.parametrize(
    "endpoint",
    [
        ENDPOINT,
        ENDPOINT._replace(state=State.RESERVED, reserved_until=9, token_id=None, metadata={}),
        ENDPOINT._replace(outbox=(WAITING,), pending=300),
        ENDPOINT._replace(filters=("one", "two"), filters_generation=3, restamped=4),
        ENDPOINT._replace(outbox=(WAITING,), pending=300).unregistered(),
    ],
)
def test_an_endpoint_comes_back_from_its_document(endpoint: Endpoint) -> None:
    assert Endpoint.from_document(endpoint.to_document()) == endpoint


def change_metadata(endpoint: Endpoint, metadata: Metadata) -> tuple[Endpoint, MetadataChanges]:
    return endpoint.changed_into(endpoint.with_metadata(metadata, 300))


def test_a_document_is_written_more_often_than_an_endpoint_changes() -> None:
    restamped = ENDPOINT._replace(restamped=4)
    assert (restamped.revision, restamped.document_revision) == (7, 11)
    assert restamped.to_document()["revision"] == 11
    assert change_metadata(restamped, {"a": 2})[0].document_revision == 12


def test_changed_metadata_is_the_next_revision() -> None:
    changed, changes = change_metadata(ENDPOINT, {"a": 2})
    assert changed == ENDPOINT._replace(revision=8, metadata={"a": 2}, metadata_updated_at=300)
    assert changes


def test_metadata_that_stays_the_same_is_no_change() -> None:
    changed, changes = change_metadata(ENDPOINT, {"b": {"x.y": [None, {"$ref": ""}]}, "a": 1})
    assert changed is ENDPOINT
    assert not changes


def test_another_application_version_is_the_next_revision() -> None:
    changed, changes = ENDPOINT.changed_into(ENDPOINT.with_app_version("kettle-v2", 300))
    assert changed == ENDPOINT._replace(revision=8, app_version="kettle-v2", app_version_at=300)
    assert not changes


def test_the_same_application_version_is_no_change() -> None:
    assert ENDPOINT.with_app_version("kettle-v1", 300) is ENDPOINT
    assert ENDPOINT.changed_into(ENDPOINT)[0] is ENDPOINT


def test_several_changes_are_one_revision() -> None:
    changed, changes = ENDPOINT.changed_into(ENDPOINT.with_metadata({}, 300).with_app_version("kettle-v2", 300))
    assert (changed.revision, changed.metadata, changed.app_version) == (8, {}, "kettle-v2")
    assert changes.removed.keys() == {"a", "b"}


def test_metadata_that_stays_the_same_is_as_old_as_before() -> None:
    changed, _ = ENDPOINT.changed_into(ENDPOINT.with_metadata(dict(ENDPOINT.metadata), 300).with_app_version("v2", 300))
    assert (changed.metadata_updated_at, changed.app_version) == (200, "v2")


def test_too_much_metadata_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        change_metadata(ENDPOINT, {"a": "x" * 300_000})


def test_a_change_is_refused_when_too_many_events_wait() -> None:
    waiting = ENDPOINT._replace(outbox=({**WAITING, "data": "A" * 1024 * 1024},) * 5, pending=300)
    with pytest.raises(Unavailable):
        change_metadata(waiting, {"a": 2})


def test_many_small_events_are_too_many() -> None:
    waiting = ENDPOINT._replace(outbox=(WAITING,) * 10_000, pending=300)
    with pytest.raises(Unavailable):
        change_metadata(waiting, {"a": 2})
    assert change_metadata(waiting._replace(outbox=(WAITING,) * 5000), {"a": 2})[0].revision == 8


def test_events_that_wait_stay_with_a_change() -> None:
    waiting = ENDPOINT._replace(outbox=(WAITING,), pending=300)
    assert change_metadata(waiting, {"a": 2})[0].to_document()["outbox"] == [WAITING]


def test_a_reservation_becomes_an_endpoint() -> None:
    reservation = ENDPOINT._replace(state=State.RESERVED, reserved_until=9, token_id=None, metadata_updated_at=None)
    assert reservation.registered("token", 500) == ENDPOINT._replace(
        revision=8, created_at=500, app_version_at=500, metadata_updated_at=500
    )


def test_an_endpoint_without_metadata_was_never_updated() -> None:
    assert ENDPOINT._replace(metadata={}).registered("token", 500).metadata_updated_at is None


def test_an_unregistered_endpoint_keeps_nothing_but_its_events() -> None:
    gone = ENDPOINT._replace(outbox=(WAITING,), pending=300).unregistered()
    document = gone.to_document()
    assert (gone.revision, gone.metadata, gone.token_id) == (8, {}, None)
    assert (document["deleted"], document["outbox"]) == (True, [WAITING])


def test_changes_are_told_by_key_as_json_text() -> None:
    before = {"kept": [1], "gone": {"a": 1.0}, "gone_null": None, "new": 1, "to_null": "x"}
    after = {"kept": [1], "new": 2, "to_null": None, "added": "é", "added_null": None}
    changes = metadata_changes(before, after)
    assert changes.removed == {"gone": '{"a":1.0}', "gone_null": None}
    assert changes.added == {"added": '"é"', "added_null": None}
    assert changes.updated == {
        "new": MetadataKeyUpdatedDto(new_value="2", old_value="1"),
        "to_null": MetadataKeyUpdatedDto(new_value=None, old_value='"x"'),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        (0.0, -0.0),
        (None, False),
        ("", None),
        ("1", 1),
        ([1], [1.0]),
        ({}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_values_that_differ_in_a_bit_differ(old: Any, new: Any) -> None:
    changes = metadata_changes({"a": old}, {"a": new})
    assert changes.updated.keys() == {"a"}


@pytest.mark.parametrize("value", [None, 0, -0.0, 2**64 - 1, 1e300, "", [], {}, {"a": [{}]}])
def test_equal_values_do_not_differ(value: Any) -> None:
    assert not metadata_changes({"a": value}, {"a": jsontext.parse(jsontext.dump(value))})
