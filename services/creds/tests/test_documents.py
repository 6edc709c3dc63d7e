from creds.documents import from_document, to_document, tombstone
from creds.model import TokenStatus, new_token


def test_a_token_comes_back_from_its_document_as_it_was() -> None:
    token = new_token("id", "tenant", "app", "endpoint", 1).moved(TokenStatus.SUSPENDED, 2)
    assert from_document(to_document(token)) == token


def test_a_tombstone_keeps_the_waiting_events_and_nothing_to_find_it_by() -> None:
    document = {**to_document(new_token("id", "tenant", "app", "endpoint", 1)), "hash": "k1:00"}
    assert tombstone({**document, "outbox": [{}], "pending": 1}) == {
        "_id": "id",
        "revision": 2,
        "deleted": True,
        "appName": "app",
        "hash": "deleted:id",
        "outbox": [{}],
        "pending": 1,
    }
    assert "pending" not in tombstone(document)
