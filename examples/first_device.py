"""A device in 40 lines: reports what it is over MQTT, then asks what is known of it.

Usage: python examples/first_device.py APPLICATION_VERSION TOKEN     (needs paho-mqtt, 1.x or 2.x)
The platform is expected at KAA_MQTT_HOST and KAA_MQTT_PORT, by default 127.0.0.1 and 1883.

A request is published to `kp1/<application version>/epmx/<token>/<resource path>/<request id>`; its answer comes on
the same topic followed by /status or, when something is wrong, by /error. The device need not subscribe.
"""

import os
import queue
import sys

import paho.mqtt.client as mqtt

ANSWER_TIMEOUT = 10


def main(app_version: str, token: str) -> None:
    answers: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    # paho-mqtt 2 wants to be told which form the callbacks have; paho-mqtt 1 has only one.
    versions = getattr(mqtt, "CallbackAPIVersion", None)
    client = mqtt.Client(versions.VERSION2) if versions else mqtt.Client()
    client.on_message = lambda _client, _userdata, message: answers.put(message)
    client.connect(os.environ.get("KAA_MQTT_HOST", "127.0.0.1"), int(os.environ.get("KAA_MQTT_PORT", "1883")))
    client.loop_start()

    requests = (
        ("update/keys/1", '{"model":"BFG 9000","mac":"00-14-22-01-23-45"}'),
        ("get/2", "{}"),
    )
    for resource, payload in requests:
        topic = f"kp1/{app_version}/epmx/{token}/{resource}"
        print(f"-> {topic}  {payload}")
        client.publish(topic, payload, qos=1)
        answer = answers.get(timeout=ANSWER_TIMEOUT)
        print(f"<- {answer.topic}  {answer.payload.decode() or '(empty)'}")

    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: first_device.py APPLICATION_VERSION TOKEN")
    main(sys.argv[1], sys.argv[2])
