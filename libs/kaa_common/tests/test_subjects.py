from collections.abc import Callable

import pytest

from kaa_common.errors import BadRequest
from kaa_common.subjects import (
    EventSubject,
    InvalidName,
    ServiceSubject,
    checked_name,
    event_subject,
    events_subject,
    parse,
    replica_subject,
    replica_subjects,
    service_subject,
)

INJECTIONS = ["", "a.b", "*", ">", "a b", "a\n", "\n", "a\0", "\u00e4", "\u0663", "a" * 129, "a/b", "a\tb", "$SYS"]


def test_subjects_are_those_of_3_ism() -> None:
    assert service_subject("epmx", "esp", "ClientData") == "kaa.v1.service.epmx.esp.ClientData"
    assert replica_subject("kpc-1", "esp", "ExtensionData") == "kaa.v1.replica.kpc-1.esp.ExtensionData"
    assert replica_subjects("kpc-1") == "kaa.v1.replica.kpc-1.>"
    assert event_subject("epr", "endpoint", "metadata", "updated") == "kaa.v1.events.epr.endpoint.metadata.updated"
    assert events_subject("*", "endpoint-filter", "*", "activated") == "kaa.v1.events.*.endpoint-filter.*.activated"
    assert event_subject("kpc", "replica", "left", of_rfc=False) == "open.kaa.v1.events.kpc.replica.left"


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_name_cannot_inject_anything_into_a_subject(name: str) -> None:
    builders: list[Callable[[], str]] = [
        lambda: service_subject(name, "esp", "ClientData"),
        lambda: replica_subject(name, "esp", "ExtensionData"),
        lambda: replica_subjects(name),
        lambda: event_subject(name, "endpoint"),
        lambda: event_subject("epr", name),
    ]
    for build in builders:
        with pytest.raises(InvalidName):
            build()


@pytest.mark.parametrize("name", ["", "a.b", ">", "a *"])
def test_only_a_lone_star_is_a_wildcard_of_a_listener(name: str) -> None:
    with pytest.raises(InvalidName):
        events_subject("epr", name)


@pytest.mark.parametrize("name", ["a", "smart_kettle-v1", "A-Z_09", "a" * 128])
def test_an_ordinary_name_is_itself(name: str) -> None:
    assert checked_name(name) == name


def test_an_invalid_name_is_the_callers_fault() -> None:
    assert issubclass(InvalidName, BadRequest)


def test_a_subject_is_parsed_into_its_parts() -> None:
    assert parse("kaa.v1.service.epmx.esp.ClientData") == ServiceSubject("epmx", "esp", "ClientData")
    assert parse("kaa.v1.replica.r.esp.ExtensionData") == ServiceSubject("r", "esp", "ExtensionData")
    assert parse("kaa.v1.service.kpc.scmp.configuration.upsert") == ServiceSubject(
        "kpc", "scmp", "configuration.upsert"
    )
    assert parse("kaa.v1.events.epr.endpoint.metadata.updated") == EventSubject(
        "epr", ("endpoint", "metadata", "updated")
    )
    assert parse("open.kaa.v1.events.kpc.replica.left") == EventSubject("kpc", ("replica", "left"))


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "kaa",
        "kaa.v1.service.epmx.esp",
        "kaa.v2.service.a.b.c",
        "kaa.v1.events.epr",
        "open.kaa.v1.events.epr",
        "open.kaa.v1.service.epmx.esp.ClientData",
        "kaa.v1.other.a.b.c",
        "kaa.v1..a",
    ],
)
def test_a_foreign_subject_is_refused(subject: str) -> None:
    with pytest.raises(InvalidName):
        parse(subject)
