import pytest

from kaa_common.errors import BadRequest, Conflict, NotFound
from tekton.model import (
    MAX_VERSIONS,
    Application,
    ApplicationVersion,
    application_of,
    new_application,
    version_name,
)


def meters() -> Application:
    return new_application("meters", "tenant", {"display_name": "Meters"}, 1)


@pytest.mark.parametrize("name", ["a", "a-b_c9", "x" * 64, "4b1fb7f4-6d2e-4a54-8f2b-0e4a0d0fd0a1"])
def test_application_names_are_lower_case_letters_digits_dashes_and_underscores(name: str) -> None:
    assert new_application(name, "tenant", {}, 1).name == name


@pytest.mark.parametrize("name", ["", "A", "a.b", "a b", "ä", "a\n", "x" * 65, "*", ">", "a/b"])
def test_other_application_names_are_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        new_application(name, "tenant", {}, 1)


@pytest.mark.parametrize("suffix", ["", "V1", "v-1", "v_1", "v.1", "v1\n", "x" * 64])
def test_a_suffix_that_is_not_lower_case_letters_and_digits_is_refused(suffix: str) -> None:
    with pytest.raises(BadRequest):
        version_name("meters", suffix)


@pytest.mark.parametrize("app_name", ["meters", "water-meters", "meters-v1", "-", "a_b"])
def test_the_application_of_a_version_name_is_found(app_name: str) -> None:
    assert application_of(version_name(app_name, "v1")) == app_name


def test_a_name_without_dash_is_of_no_application() -> None:
    assert application_of("meters") == ""


def test_only_the_texts_that_are_given_change() -> None:
    described = meters().described({"description": "Of water"}, 2)
    assert (described.display_name, described.description) == ("Meters", "Of water")
    assert (described.created_ms, described.updated_ms, described.revision) == (1, 2, 2)


def test_none_removes_a_text() -> None:
    assert meters().described({"display_name": None}, 2).display_name is None


@pytest.mark.parametrize("texts", [{"display_name": "x" * 257}, {"description": "x" * 4097}])
def test_texts_are_bounded(texts: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        meters().described({"display_name": texts.get("display_name"), "description": texts.get("description")}, 2)


def test_a_new_version_raises_the_revision_and_keeps_the_order() -> None:
    extended = meters().with_new_version("meters-v2", {}, 2).with_new_version("meters-v1", {"description": "d"}, 3)
    assert list(extended.versions) == ["meters-v2", "meters-v1"]
    assert extended.version("meters-v1") == ApplicationVersion(
        name="meters-v1", description="d", created_ms=3, updated_ms=3
    )
    assert (extended.revision, extended.updated_ms) == (3, 3)


def test_a_version_name_is_taken_once() -> None:
    with pytest.raises(Conflict):
        meters().with_new_version("meters-v1", {}, 2).with_new_version("meters-v1", {}, 3)


def test_the_number_of_versions_is_bounded() -> None:
    application = meters()
    for number in range(MAX_VERSIONS):
        application = application.with_new_version(f"meters-{number}", {}, 2)
    with pytest.raises(Conflict):
        application.with_new_version("meters-onemore", {}, 2)


def test_an_unknown_version_is_not_found() -> None:
    with pytest.raises(NotFound):
        meters().version("meters-v1")


def test_configurations_of_other_service_instances_are_kept() -> None:
    version = ApplicationVersion(name="meters-v1", created_ms=1, updated_ms=1)
    version = version.configured({"kpc": {"a": 1}, "epmx": {"b": 2}, "epl": {}}, 2)
    version = version.configured({"kpc": {"c": 3}, "epmx": None}, 3)
    assert version.configurations == {"kpc": {"c": 3}, "epl": {}}
    assert version.updated_ms == 3
