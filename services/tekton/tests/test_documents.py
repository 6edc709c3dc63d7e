from tekton.documents import from_document, to_document
from tekton.model import new_application


def test_an_application_comes_back_from_its_document_as_it_was() -> None:
    application = new_application("meters", "tenant", {"display_name": "Meters"}, 1)
    application = application.with_new_version("meters-v1", {"description": "first"}, 2)
    version = application.version("meters-v1").configured({"kpc": {"a.b": {"$c": [1, None]}}}, 3)
    application = application.with_version(version, 3)
    assert from_document(to_document(application)) == application


def test_the_document_is_known_by_the_name_and_the_revision() -> None:
    document = to_document(new_application("meters", "tenant", {}, 1))
    assert (document["_id"], document["revision"], document["tenantId"]) == ("meters", 1, "tenant")
