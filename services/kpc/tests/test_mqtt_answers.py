"""Which messages answer a request, with which topics, payloads and properties."""

import pytest

from kpc.edge import Outcome
from kpc.mqtt.packets import Publish
from kpc.mqtt.properties import NO_PROPERTIES, Properties
from kpc.mqtt.versions import MQTT_3_1, MQTT_3_1_1, MQTT_5, Version
from kpc.mqtt_answers import Answer, answers, has_its_format, too_large

TOPIC = "kp1/app-v1/epmx/token/get/1"
OK = (("statusCode", "200"),)


def request(properties: Properties = NO_PROPERTIES) -> Publish:
    return Publish(topic=TOPIC, payload=b"", properties=properties)


def outcome(status_code: int = 200, payload: bytes = b"{}", reason: str = "", *, has_id: bool = True) -> Outcome:
    return Outcome(status_code=status_code, payload=payload, reason_phrase=reason, has_request_id=has_id)


@pytest.mark.parametrize("version", [MQTT_3_1, MQTT_3_1_1])
def test_before_mqtt_5_an_answer_is_topic_and_payload(version: Version) -> None:
    assert list(answers(request(), outcome(), version)) == [
        Answer(topic=f"{TOPIC}/status", payload=b"{}", properties=NO_PROPERTIES)
    ]


def test_an_error_goes_to_the_error_topic() -> None:
    (answer,) = answers(request(), outcome(404, reason="unknown", has_id=False), MQTT_3_1_1)
    assert answer == Answer(
        topic=f"{TOPIC}/error", payload=b'{"statusCode":404,"reasonPhrase":"unknown"}', properties=NO_PROPERTIES
    )


@pytest.mark.parametrize(("payload", "has_id", "count"), [(b"", False, 0), (b"", True, 1), (b"{}", False, 1)])
def test_a_success_without_payload_that_answers_no_id_is_not_published(
    payload: bytes, has_id: bool, count: int
) -> None:
    assert len(list(answers(request(), outcome(payload=payload, has_id=has_id), MQTT_5))) == count


def test_an_answer_carries_status_reason_and_correlation_data() -> None:
    (answer,) = answers(request(Properties(correlation_data=b"\x00\xff")), outcome(reason="Ok"), MQTT_5)
    assert answer.properties == Properties(correlation_data=b"\x00\xff", user_properties=(*OK, ("reasonPhrase", "Ok")))


def test_a_reason_that_mqtt_cannot_carry_becomes_readable() -> None:
    (answer,) = answers(request(), outcome(reason="no\0\ud800" + "x" * 500), MQTT_5)
    ((_, _), (_, said)) = answer.properties.user_properties
    assert said == "no  " + "x" * 116


def test_a_request_with_a_response_topic_is_answered_there_first_and_on_its_own_topic_too() -> None:
    asked = request(Properties(response_topic="my/answers", correlation_data=b"7"))
    properties = Properties(correlation_data=b"7", user_properties=OK)
    assert list(answers(asked, outcome(), MQTT_5)) == [
        Answer(topic="my/answers", payload=b"{}", properties=properties),
        Answer(topic=f"{TOPIC}/status", payload=b"{}", properties=properties),
    ]


def test_whoever_gives_a_response_topic_is_told_of_a_success_without_payload() -> None:
    asked = request(Properties(response_topic="my/answers"))
    assert [answer.topic for answer in answers(asked, outcome(payload=b"", has_id=False), MQTT_5)] == ["my/answers"]


def test_an_answer_comes_once_when_the_response_topic_is_the_usual_one() -> None:
    asked = request(Properties(response_topic=f"{TOPIC}/status"))
    assert [answer.topic for answer in answers(asked, outcome(), MQTT_5)] == [f"{TOPIC}/status"]


def test_what_is_too_large_for_the_client_becomes_an_error() -> None:
    (answer,) = answers(request(), too_large(outcome(payload=b"x" * 1000)), MQTT_5)
    assert answer.topic == f"{TOPIC}/error"
    assert answer.payload.startswith(b'{"statusCode":413,')


@pytest.mark.parametrize(
    ("indicator", "payload", "is_so"),
    [(None, b"\xff", True), (0, b"\xff", True), (1, b"\xff", False), (1, b"\xc3\xbc", True)],
)
def test_a_payload_that_is_called_text_has_to_be_text(indicator: int | None, payload: bytes, is_so: bool) -> None:
    publish = Publish(topic=TOPIC, payload=payload, properties=Properties(payload_format_indicator=indicator))
    assert has_its_format(publish) is is_so
