"""The time, as devices ask for it: without a token, over MQTT and HTTP."""

import json
import time

import pytest

from .conftest import Ask, Platform, error_of, mqtt_device

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)


def is_now(milliseconds: int) -> bool:
    return abs(milliseconds / 1000 - time.time()) < 60


async def test_a_device_learns_the_time_and_its_offset(platform: Platform) -> None:
    path = f"/kp1/{platform.app_version}/tsx/time"
    told = platform.rest.post(path).raise_for_status().json()
    assert told.keys() == {"timestamp"}
    assert is_now(told["timestamp"])
    told = platform.rest.post(path, json={"timezone": "Asia/Tokyo"}).raise_for_status().json()
    assert is_now(told.pop("timestamp"))
    assert told == {"offset": 32_400}


async def test_a_device_learns_it_over_mqtt(platform: Platform) -> None:
    topic = f"kp1/{platform.app_version}/tsx/time/0"
    async with mqtt_device(platform) as device:
        (answer,) = await device.publish(topic, b"")
    assert (answer.topic, answer.qos) == (f"{topic}/status", 1)
    assert is_now(json.loads(answer.payload)["timestamp"])


async def test_a_time_zone_that_there_is_not_is_a_400(platform: Platform, ask: Ask) -> None:
    answer = await ask(f"kp1/{platform.app_version}/tsx/time", b'{"timezone":"Mars/Olympus"}')
    assert error_of(answer) == (400, "unknown timezone")


async def test_an_application_version_may_do_without_it(platform: Platform, ask: Ask) -> None:
    version = platform.new_app_version({"kpc": {"allowed-extension-instances": ["epmx"]}})
    assert error_of(await ask(f"kp1/{version}/tsx/time", b""))[0] == 403
