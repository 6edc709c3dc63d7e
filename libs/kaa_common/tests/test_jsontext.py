import json
import time
from typing import Any

import pytest

from kaa_common import jsontext
from kaa_common.errors import BadRequest
from kaa_common.jsontext import MAX_DEPTH, InvalidJson


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + "1" + closing * depth).encode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        -(2**63),
        2**63,
        2**64 - 1,
        0.1,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        1e22,
        "",
        "text",
        "\N{GRINNING FACE} \u0000 \u2028",
        [],
        {},
        [1, [2.5, {"a": []}]],
        {"": 1, "a.b": 2, "$set": 3, "\u00e9": {"": None}},
    ],
)
def test_a_value_survives_reading_and_writing_bit_for_bit(value: Any) -> None:
    read = jsontext.parse(json.dumps(value).encode())

    assert repr(read) == repr(value)
    assert repr(jsontext.parse(jsontext.dump(read))) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616",
        "-9223372036854775809",
        '[1, {"a": 99999999999999999999}]',
        "-99999999999999999999",
        "100000000000000000000000000",
        '{"a":1,"b":[18446744073709551616]}',
    ],
)
def test_an_integer_beyond_64_bits_is_refused(text: str) -> None:
    with pytest.raises(InvalidJson, match="integer beyond 64 bits"):
        jsontext.parse(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '"18446744073709551616"',
        '{"99999999999999999999999": "-99999999999999999999999"}',
        '["\\"18446744073709551616"]',
        "0.18446744073709551616",
        "18446744073709551616.5",
        "1844674407370955161600e3",
        "12345678901234567890",
    ],
)
def test_long_runs_of_digits_that_are_no_such_integer_are_fine(text: str) -> None:
    assert jsontext.parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "[1e309]", "NaN", "Infinity", "-Infinity", "[nan]"])
def test_a_number_that_no_double_holds_is_refused(text: str) -> None:
    with pytest.raises(InvalidJson):
        jsontext.parse(text.encode())


@pytest.mark.parametrize("text", [rb'"\ud800"', rb'"\udc00"', rb'{"\ud800":1}', rb'"\ud800\ud800"', b'"\xed\xa0\x80"'])
def test_a_lone_surrogate_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidJson):
        jsontext.parse(text)


def test_a_surrogate_pair_is_its_character() -> None:
    assert jsontext.parse(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize("text", [rb'{"\u0000":1}', rb'[{"a":{"b\u0000c":1}}]'])
def test_a_nul_in_a_key_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidJson, match="NUL"):
        jsontext.parse(text)


def test_a_nul_in_a_value_is_kept() -> None:
    assert jsontext.parse(rb'{"a":"\u0000"}') == {"a": "\0"}


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_limited(opening: str, closing: str) -> None:
    jsontext.parse(nested(MAX_DEPTH, opening, closing))
    for depth in (MAX_DEPTH + 1, 200, 100_000):
        with pytest.raises(InvalidJson):
            jsontext.parse(nested(depth, opening, closing))


def test_the_limit_of_nesting_can_be_chosen() -> None:
    assert jsontext.parse(b"[1]", max_depth=1) == [1]
    with pytest.raises(InvalidJson, match="nested too deeply"):
        jsontext.parse(b"[[1]]", max_depth=1)


@pytest.mark.parametrize(
    "text",
    [
        b"1" * 100_000,
        b"[" + b"9" * 100_000 + b"]",
        b"-" + b"9" * 100_000,
        b"[" + b",".join([b"99999999999999999999"] * 5_000) + b"]",
    ],
)
def test_huge_integers_are_refused_quickly(text: bytes) -> None:
    started = time.perf_counter()

    with pytest.raises(InvalidJson):
        jsontext.parse(text)

    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize(
    "text", [b"", b" ", b"{", b"[1,]", b"{'a':1}", b"01", b"+1", b"\xff", b"\xef\xbb\xbf1", b'"\n"', b"1 2", b"tru"]
)
def test_what_is_not_json_is_refused_as_a_bad_request(text: bytes) -> None:
    with pytest.raises(BadRequest, match="not valid JSON"):
        jsontext.parse(text)
