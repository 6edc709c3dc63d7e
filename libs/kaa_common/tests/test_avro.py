import contextlib
import dataclasses
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, strategies

from kaa_common.avro import (
    DecodeError,
    Int,
    decode,
    encode,
    leading_string,
    record,
    record_types_of,
    schema_of,
    to_camel_case,
    wire_name,
)

NAMESPACE = "org.example.kettle"


@record(NAMESPACE)
class Lid:
    open: bool
    note: None | str = None


@record(NAMESPACE)
class Spout:
    width: None | int


@record(NAMESPACE, "kettleReport")
class KettleReport:
    correlation_id: str
    filled_at: int
    level: Int
    mode: str | None
    lids: tuple[Lid, ...]
    spouts: Mapping[str, Spout]
    history: Mapping[str, Mapping[str, tuple[int, ...]]]
    tags: tuple[str, ...] = ()
    raw: None | bytes = None
    tenant: None | str = wire_name("tenantID", default=None)


REPORT = KettleReport(
    correlation_id="c-1",
    filled_at=-(2**63),
    level=7,
    mode=None,
    lids=(Lid(open=True), Lid(open=False, note="tea")),
    spouts={"left": Spout(width=3), "right": Spout(width=None)},
    history={"a": {"b": (1, 2), "c": ()}, "": {}},
    tags=("x", ""),
    raw=b"\x00\xff",
    tenant="t",
)


@record(NAMESPACE)
class First:
    correlation_id: str
    status_code: Int


@record(NAMESPACE, "First")
class Second:
    correlation_id: str
    status_code: Int
    reason_phrase: None | str = None


@record(NAMESPACE, "First")
class Third:
    correlation_id: str
    status_code: Int
    reason_phrase: None | str = None
    hints: tuple[str, ...] = ("default",)


def test_the_class_is_the_schema() -> None:
    lid = {
        "type": "record",
        "namespace": NAMESPACE,
        "name": "Lid",
        "fields": [{"name": "open", "type": "boolean"}, {"name": "note", "type": ["null", "string"], "default": None}],
    }
    spout = {
        "type": "record",
        "namespace": NAMESPACE,
        "name": "Spout",
        "fields": [{"name": "width", "type": ["null", "long"]}],
    }
    assert schema_of(Lid) == lid
    assert schema_of(KettleReport) == {
        "type": "record",
        "namespace": NAMESPACE,
        "name": "kettleReport",
        "fields": [
            {"name": "correlationId", "type": "string"},
            {"name": "filledAt", "type": "long"},
            {"name": "level", "type": "int"},
            {"name": "mode", "type": ["string", "null"]},
            {"name": "lids", "type": {"type": "array", "items": lid}},
            {"name": "spouts", "type": {"type": "map", "values": spout}},
            {
                "name": "history",
                "type": {
                    "type": "map",
                    "values": {"type": "map", "values": {"type": "array", "items": "long"}},
                },
            },
            {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
            {"name": "raw", "type": ["null", "bytes"], "default": None},
            {"name": "tenantID", "type": ["null", "string"], "default": None},
        ],
    }


def test_the_records_inside_of_a_record_are_found() -> None:
    assert record_types_of(KettleReport) == [KettleReport, Lid, Spout]
    assert record_types_of(Lid) == [Lid]


def test_a_record_survives_the_wire() -> None:
    assert decode(KettleReport, encode(REPORT)) == REPORT


TEXT = strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=80)
LONG = strategies.integers(-(2**63), 2**63 - 1)
REPORTS = strategies.builds(
    KettleReport,
    correlation_id=TEXT,
    filled_at=LONG,
    level=strategies.integers(-(2**31), 2**31 - 1),
    mode=strategies.none() | TEXT,
    lids=strategies.lists(strategies.builds(Lid, open=strategies.booleans(), note=strategies.none() | TEXT)).map(tuple),
    spouts=strategies.dictionaries(TEXT, strategies.builds(Spout, width=strategies.none() | LONG)),
    history=strategies.dictionaries(TEXT, strategies.dictionaries(TEXT, strategies.lists(LONG).map(tuple))),
    tags=strategies.lists(TEXT).map(tuple),
    raw=strategies.none() | strategies.binary(max_size=200),
    tenant=strategies.none() | TEXT,
)


@given(REPORTS)
def test_another_implementation_of_avro_reads_and_writes_the_same(report: KettleReport) -> None:
    schema = fastavro.parse_schema(schema_of(KettleReport))
    datum = encode(report)
    assert decode(KettleReport, datum) == report

    read = fastavro.schemaless_reader(BytesIO(datum), schema, None)
    written = BytesIO()
    fastavro.schemaless_writer(written, schema, read)
    assert written.getvalue() == datum


def test_containers_come_back_as_they_were_declared() -> None:
    read = decode(KettleReport, encode(REPORT))

    assert isinstance(read.lids, tuple)
    assert isinstance(read.lids[0], Lid)
    assert isinstance(read.spouts["left"], Spout)
    assert isinstance(read.history["a"]["b"], tuple)


def test_the_bytes_are_those_of_the_avro_specification() -> None:
    assert encode(Lid(open=True, note="tea")) == b"\x01\x02\x06tea"
    assert encode(Lid(open=False)) == b"\x00\x00"
    assert encode(First(correlation_id="c", status_code=-1)) == b"\x02c\x01"


def test_a_datum_of_before_a_field_was_appended_has_its_default() -> None:
    old = encode(First(correlation_id="c", status_code=200))

    assert decode(Second, old) == Second(correlation_id="c", status_code=200)
    assert decode(Third, old) == Third(correlation_id="c", status_code=200)
    assert decode(Third, encode(Second(correlation_id="c", status_code=404, reason_phrase="r"))) == Third(
        correlation_id="c", status_code=404, reason_phrase="r", hints=("default",)
    )


def test_fields_appended_later_are_ignored() -> None:
    new = encode(Third(correlation_id="c", status_code=200, reason_phrase="r", hints=("h",)))

    assert decode(Second, new) == Second(correlation_id="c", status_code=200, reason_phrase="r")
    assert decode(First, new) == First(correlation_id="c", status_code=200)


def test_a_required_field_cannot_be_missing() -> None:
    for length in range(3):
        with pytest.raises(DecodeError):
            decode(Third, encode(First(correlation_id="c", status_code=200))[:length])


@given(strategies.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_decode_error(datum: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert isinstance(decode(KettleReport, datum), KettleReport)


@given(strategies.integers(0, 200), strategies.binary(min_size=1, max_size=3))
def test_a_damaged_datum_is_a_record_or_a_decode_error(position: int, damage: bytes) -> None:
    datum = bytearray(encode(REPORT))
    datum[position : position + len(damage)] = damage
    with contextlib.suppress(DecodeError):
        assert isinstance(decode(KettleReport, bytes(datum)), KettleReport)


@pytest.mark.parametrize("size", [b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x01", b"\xff" * 9 + b"\x01"])
def test_an_absurd_length_is_a_decode_error(size: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(First, size + b"c\x01")


@pytest.mark.parametrize(
    "wrong",
    [
        {"correlation_id": 5},
        {"correlation_id": None},
        {"status_code": "200"},
        {"status_code": None},
        {"reason_phrase": 5},
        {"correlation_id": "lone \ud800 surrogate"},
    ],
)
def test_a_value_that_does_not_fit_its_field_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode(dataclasses.replace(Second(correlation_id="c", status_code=200), **wrong))


def test_a_long_of_more_than_64_bits_is_refused() -> None:
    report = KettleReport(correlation_id="c", filled_at=2**63, level=0, mode=None, lids=(), spouts={}, history={})
    with pytest.raises(OverflowError):
        encode(report)


def test_the_correlation_id_of_an_answer_is_read_without_knowing_the_answer() -> None:
    assert leading_string(encode(REPORT)) == "c-1"
    for datum in (b"", b"\x04c", b"\x02\xff"):
        with pytest.raises(DecodeError):
            leading_string(datum)


def test_blocks_that_tell_their_size_are_read() -> None:
    # Avro §Arrays: a negative count is followed by the size of the block in bytes.
    report = encode(dataclasses.replace(REPORT, tags=(), raw=None, tenant=None))
    assert report.endswith(b"\x00\x00\x00")
    assert decode(KettleReport, report[:-3] + b"\x01\x04\x02x\x02\x02y\x00" + b"\x00\x00").tags == ("x", "y")


def test_a_record_names_its_fields() -> None:
    with pytest.raises(TypeError):
        First("c-1", 200)  # type: ignore[call-arg] # positional on purpose


def test_a_type_without_an_avro_counterpart_is_refused() -> None:
    @record(NAMESPACE)
    class Impossible:
        when: complex

    with pytest.raises(TypeError, match="no Avro type"):
        schema_of(Impossible)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("timestamp", "timestamp"), ("app_version_name", "appVersionName"), ("e_tag", "eTag")],
)
def test_names_are_camel_case_on_the_wire(name: str, expected: str) -> None:
    assert to_camel_case(name) == expected
